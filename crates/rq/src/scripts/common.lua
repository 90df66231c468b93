-- What several scripts share. Nothing here reads a clock: times are arguments.

local call = redis.call

-- Whether a key is absent or of this type.
local function fits(key, kind)
  local found = call('TYPE', key)['ok']
  return found == 'none' or found == kind
end

-- Frees a key that somebody else's mistake has given another type.
local function make_fit(key, kind)
  if not fits(key, kind) then call('DEL', key) end
end

local function number(text, default)
  return tonumber(text or '') or default
end

-- Expires job, dependents and dependencies together.
local function expire_job(P, id, ttl)
  call('EXPIRE', job_key(P, id), ttl)
  call('EXPIRE', dependents_key(P, id), ttl)
  call('EXPIRE', dependencies_key(P, id), ttl)
end

-- Puts a job whose hash is written on its queue; `front` is '1' for the head.
local function push(P, queue, id, front)
  local ttl = number(call('HGET', job_key(P, id), 'ttl'))
  if ttl and 0 < ttl then expire_job(P, id, ttl) end
  call(front == '1' and 'LPUSH' or 'RPUSH', queue_key(P, queue), id)
end

-- Takes an execution out of everything that lists it, and out of the worker's record.
local function clear_execution(r)
  local P, member = r.prefix, r.job .. ':' .. r.execution
  call('DEL', execution_key(P, r.job, r.execution))
  call('ZREM', registry_key(P, 'wip', r.queue), member)
  if fits(executions_key(P, r.job), 'zset') then
    call('ZREM', executions_key(P, r.job), r.execution)
  end
  call('SREM', worker_executions_key(P, r.worker), member)
  call('HDEL', worker_key(P, r.worker), 'current_job', 'freshq_execution', 'freshq_job', 'freshq_queue',
    'freshq_undo')
end
