-- Undoes a start: the job is again what it was, at the front of its queue.
-- ARGV: request (JSON), job id.

local r = cjson.decode(ARGV[1])
r.job = ARGV[2]
local P = r.prefix
local worker, job = worker_key(P, r.worker), job_key(P, r.job)
if call('HGET', worker, 'freshq_execution') ~= r.execution then return 0 end
local undo = cjson.decode(call('HGET', worker, 'freshq_undo'))
call('HSET', worker, 'state', 'idle', 'last_heartbeat', r.now)
if call('EXISTS', job) == 1 then
  for i, field in ipairs({'status', 'started_at', 'worker_name', 'last_heartbeat'}) do
    local value = undo.before[i]
    if type(value) == 'string' then call('HSET', job, field, value) else call('HDEL', job, field) end
  end
  if 0 < undo.ttl then call('PEXPIRE', job, undo.ttl) end
  call('LPUSH', queue_key(P, r.queue), r.job)
end
clear_execution(r)
return 1
