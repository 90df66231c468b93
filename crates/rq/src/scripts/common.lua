-- What several scripts share. Nothing here reads a clock: times are arguments.

local call = redis.call

-- How long a worker's record is kept that nobody says more about: RQ's default and its margin.
local RECORD_LIFE = 480
-- RQ's timeout for jobs that give none.
local DEFAULT_TIMEOUT = 180
-- In the registry of running jobs: the process that ran it is gone. Nothing else has this score.
local CERTAINLY_OVER = 0
-- Fields of a job that a start changes, and a release changes back.
local CHANGED_BY_START = {'status', 'started_at', 'worker_name', 'last_heartbeat', 'generation', 'code_hash'}

-- The type of a key. Asked once: within a run a key that exists keeps its type or goes, and a key that
-- has gone reads as an empty one of its type.
local types = {}
local function type_of(key)
  local found = types[key]
  if not found then
    found = call('TYPE', key)['ok']
    if found ~= 'none' then types[key] = found end
  end
  return found
end

-- Whether a key is absent or of this type.
local function fits(key, kind)
  local found = type_of(key)
  return found == 'none' or found == kind
end

-- Frees a key that is ours alone and that somebody else's mistake has given another type.
local function make_fit(key, kind)
  if not fits(key, kind) then
    call('DEL', key)
    types[key] = nil
  end
end

-- Lua does not roll back, so a number that Redis would refuse must never reach a command.
local function integer(text, default)
  if type(text) == 'string' and #text <= 12 and string.match(text, '^%-?%d+$') then
    return tonumber(text)
  end
  return default
end

-- Whether a command that was sent with `pcall` was refused; and whether because the key has another type.
local function is_error(reply) return type(reply) == 'table' and reply['err'] ~= nil end
local function is_wrong_type(reply)
  return is_error(reply) and string.find(reply['err'], 'WRONGTYPE', 1, true) ~= nil
end

-- A field of a hash that may be of another type or absent; then nil.
local function field(key, name)
  local value = redis.pcall('HGET', key, name)
  return not is_error(value) and value or nil
end

-- The same for several, by name, in one command.
local function fields(key, names)
  local values, found = redis.pcall('HMGET', key, unpack(names)), {}
  if is_error(values) then return found end
  for i, name in ipairs(names) do found[name] = values[i] or nil end
  return found
end

-- Writes to a key; false if it is somebody's mistake of another type.
local function write(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if is_wrong_type(reply) then return false end
  -- Again, so that whoever called the script is told.
  return is_error(reply) and call(command, key, ...) or reply
end

-- Writes to a key that is ours alone. One that somebody's mistake has given another type makes room.
local function write_own(command, key, ...)
  if write(command, key, ...) then return end
  call('DEL', key)
  call(command, key, ...)
end

-- Whether a request comes late: its worker has been answered a later one, whose number is noted. It was sent
-- again over another connection meanwhile, and nobody waits for this answer.
local function is_late(noted, number)
  return noted ~= nil and tonumber(number) < (tonumber(noted) or 0)
end

-- The queue whose registries list a job: the one in its hash, as in RQ.
local function origin_of(P, id, queue)
  local origin = field(job_key(P, id), 'origin')
  if not origin or origin == '' then return queue end
  return origin
end

-- Expires job, dependents and dependencies together.
local function expire_job(P, id, ttl, has_no_dependents)
  call('EXPIRE', job_key(P, id), ttl)
  if not has_no_dependents then call('EXPIRE', dependents_key(P, id), ttl) end
  call('EXPIRE', dependencies_key(P, id), ttl)
end

-- A job that waits again expires as it did when it was enqueued, if it has a time to live.
local function expire_waiting(P, id)
  local ttl = integer(call('HGET', job_key(P, id), 'ttl'))
  if ttl and 0 < ttl then expire_job(P, id, ttl) end
end

-- '1' if a job that is put on its queue by itself goes to the head, as in RQ: by its own wish, or, once
-- it has run, by that of its retry.
local function front_of(P, id)
  local job = call('HMGET', job_key(P, id), 'enqueue_at_front', 'enqueue_at_front_on_retry', 'ended_at')
  if job[2] == '1' and job[3] and job[3] ~= '' then return '1' end
  return job[1]
end

-- Puts a job on a queue; `front` is '1' for the head.
local function push(P, queue, id, front, now)
  local job = job_key(P, id)
  call('HSET', job, 'status', 'queued', 'origin', queue, 'enqueued_at', now)
  call('HSETNX', job, 'timeout', DEFAULT_TIMEOUT)
  expire_waiting(P, id)
  call(front == '1' and 'LPUSH' or 'RPUSH', queue_key(P, queue), id)
end

-- Removes from a set or a registry, unless its key is somebody's mistake.
local function remove(command, key, member) redis.pcall(command, key, member) end
local function remove_from_registry(P, registry, queue, member)
  remove('ZREM', registry_key(P, registry, queue), member)
end

-- Takes an execution out of everything that lists it.
local function unlist_execution(r)
  local P, member = r.prefix, r.job .. ':' .. r.execution
  call('DEL', execution_key(P, r.job, r.execution))
  remove_from_registry(P, 'wip', r.origin, member)
  remove('ZREM', executions_key(P, r.job), r.execution)
  remove('SREM', worker_executions_key(P, r.worker), member)
end

-- Takes an execution out of the worker's record. `held` is what that names, if it was read already.
local function forget_execution(r)
  local worker = worker_key(r.prefix, r.worker)
  local held = r.held or field(worker, 'freshq_execution')
  if not held or held == r.execution then
    call('HDEL', worker, 'current_job', 'freshq_execution', 'freshq_job', 'freshq_queue', 'freshq_undo')
  end
end

local function clear_execution(r)
  unlist_execution(r)
  forget_execution(r)
end
