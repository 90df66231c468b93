-- Keeps a worker's record alive, and writes it whole when it has vanished.
-- ARGV: request (JSON), job id. Returns whether the record had to be written
-- again, and whether the job was deleted meanwhile.

local h = cjson.decode(ARGV[1])
h.job = ARGV[2]
local P = h.prefix
local worker = worker_key(P, h.worker)
local known = call('HEXISTS', worker, 'birth') == 1
call('HSET', worker, 'last_heartbeat', h.now)
if h.state then call('HSET', worker, 'state', h.state) end
if not known then write_birth(h) end
call('EXPIRE', worker, h.life)
call('EXPIRE', worker_executions_key(P, h.worker), h.life)
if h.execution then
  local execution = execution_key(P, h.job, h.execution)
  local member = h.job .. ':' .. h.execution
  call('HSET', execution, 'last_heartbeat', h.now_float)
  call('EXPIRE', execution, h.life)
  call('ZADD', registry_key(P, 'wip', h.queue), 'XX', h.now_seconds + h.life, member)
  call('ZADD', executions_key(P, h.job), 'XX', h.now_seconds + h.life + 60, h.execution)
  call('EXPIRE', executions_key(P, h.job), h.life + 60)
  -- A job that was deleted while it runs must not come back as half a hash.
  if call('EXISTS', job_key(P, h.job)) == 0 then return {known and 0 or 1, 1} end
  call('HSET', job_key(P, h.job), 'last_heartbeat', h.now)
end
return {known and 0 or 1, 0}
