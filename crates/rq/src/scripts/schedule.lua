-- Moves scheduled jobs that are due to their queue.
-- ARGV: request (JSON). Returns how many entries were dealt with; as many as `limit` may have left more.

local s = cjson.decode(ARGV[1])
local P, queue = s.prefix, s.queue
local scheduled = registry_key(P, 'scheduled', queue)
-- A key of another type is somebody's mistake; the other queues go on.
if type_of(scheduled) ~= 'zset' or not fits(queue_key(P, queue), 'list') then return 0 end
local due = call('ZRANGEBYSCORE', scheduled, '-inf', s.now_seconds, 'LIMIT', 0, s.limit)
for _, id in ipairs(due) do
  -- Ids without a job are dropped.
  if field(job_key(P, id), 'data') then enqueue(s, queue, id, front_of(P, id)) end
  call('ZREM', scheduled, id)
end
return #due
