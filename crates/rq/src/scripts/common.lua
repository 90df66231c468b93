-- What several scripts share. Nothing here reads a clock: times are arguments.

local call = redis.call

-- How long a worker's record is kept that nobody says more about: RQ's default and its margin.
local RECORD_LIFE = 480
-- RQ's timeout for jobs that give none.
local DEFAULT_TIMEOUT = 180
-- Fields of a job that a start changes, and a release changes back.
local CHANGED_BY_START = {'status', 'started_at', 'worker_name', 'last_heartbeat'}

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

-- A field of a hash that may be of another type or absent; then nil.
local function field(key, name)
  if type_of(key) ~= 'hash' then return nil end
  return call('HGET', key, name) or nil
end

-- The queue whose registries list a job: the one in its hash, as in RQ.
local function origin_of(P, id, queue)
  local origin = field(job_key(P, id), 'origin')
  if not origin or origin == '' then return queue end
  return origin
end

-- Expires job, dependents and dependencies together.
local function expire_job(P, id, ttl)
  call('EXPIRE', job_key(P, id), ttl)
  call('EXPIRE', dependents_key(P, id), ttl)
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

-- Removes from a registry, unless its key is somebody's mistake.
local function remove_from_registry(P, registry, queue, member)
  local key = registry_key(P, registry, queue)
  if fits(key, 'zset') then call('ZREM', key, member) end
end

-- Takes an execution out of everything that lists it, and out of the worker's record.
local function clear_execution(r)
  local P, member = r.prefix, r.job .. ':' .. r.execution
  call('DEL', execution_key(P, r.job, r.execution))
  remove_from_registry(P, 'wip', r.origin, member)
  make_fit(executions_key(P, r.job), 'zset')
  call('ZREM', executions_key(P, r.job), r.execution)
  make_fit(worker_executions_key(P, r.worker), 'set')
  call('SREM', worker_executions_key(P, r.worker), member)
  local worker = worker_key(P, r.worker)
  local holds = call('HGET', worker, 'freshq_execution')
  if not holds or holds == r.execution then
    call('HDEL', worker, 'current_job', 'freshq_execution', 'freshq_job', 'freshq_queue', 'freshq_undo')
  end
end
