-- The process of a worker is gone: its record goes, and what it was running counts as abandoned at once.
-- ARGV: request (JSON), key of the worker. Returns the id of the job that it was running, '' if there is
-- none, or nil if the record is of another run by now.

local b, worker = cjson.decode(ARGV[1]), ARGV[2]
local P = b.prefix
local noted = fields(worker, {'freshq_run', 'queues', 'freshq_execution', 'freshq_job', 'freshq_queue'})
if noted.freshq_run ~= b.run then return nil end
local id, execution, queue = noted.freshq_job, noted.freshq_execution, noted.freshq_queue
local runs = id and execution and queue
if runs then
  local wip = registry_key(P, 'wip', origin_of(P, id, queue))
  if fits(wip, 'zset') then call('ZADD', wip, 'XX', CERTAINLY_OVER, id .. ':' .. execution) end
end
remove('SREM', workers_key(P), worker)
for name in string.gmatch(noted.queues or '', '[^,]+') do
  remove('SREM', queue_workers_key(P, name), worker)
end
call('DEL', worker, worker .. ':executions')
return runs and id or ''
