-- Undoes a start: the job is again what it was, at the front of its queue.
-- ARGV: request (JSON), job id, then the values before the start of CHANGED_BY_START; `had` in the
-- request says which of them there were.

local r = cjson.decode(ARGV[1])
r.job = ARGV[2]
local P = r.prefix
local worker, job, list = worker_key(P, r.worker), job_key(P, r.job), queue_key(P, r.queue)
r.origin = origin_of(P, r.job, r.queue)
-- The worker's note decides who holds the job; if its record has vanished, the registry of running jobs.
local holds, wip = field(worker, 'freshq_execution'), registry_key(P, 'wip', r.origin)
if holds ~= r.execution then
  if holds or not fits(wip, 'zset') then return 0 end
  if not call('ZSCORE', wip, r.job .. ':' .. r.execution) then return 0 end
end
if not fits(list, 'list') then
  return redis.error_reply('WRONGTYPE the queue ' .. list .. ' is not a list; job ' .. r.job ..
    ' cannot be put back')
end
-- First: out of memory, Redis refuses no EXPIRE, and nothing that comes after a write. A stop must not wait
-- for memory.
call('EXPIRE', worker, r.worker_life)
write_own('HSET', worker, 'state', 'idle', 'last_heartbeat', r.now)
call('EXPIRE', worker, r.worker_life)
-- A job that was canceled or deleted meanwhile stays so.
if field(job, 'status') == 'started' then
  for i, name in ipairs(CHANGED_BY_START) do
    if r.had[i] then call('HSET', job, name, ARGV[2 + i]) else call('HDEL', job, name) end
  end
  if 0 < r.ttl then call('PEXPIRE', job, r.ttl) end
  call('LPUSH', list, r.job)
end
clear_execution(r)
return 1
