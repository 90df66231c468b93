-- A job that has ended frees those that waited for it: deferred -> queued, in the step that ends it.

-- Dependents that are put on their queues in one step. The rest goes to the ready registry, from which
-- `start` takes them, so that no script blocks Redis for long.
local RELEASED_MAX = 1000

local function is_met(status, allow_failure)
  return not status or status == 'finished' or (status == 'failed' and allow_failure)
end

local function is_ready(f, outcome, id)
  local P, dependent = f.prefix, job_key(f.prefix, id)
  local status = field(dependent, 'status')
  if not status or status == 'canceled' then return false end
  local allow_failure = call('HGET', dependent, 'allow_dependency_failures') == '1'
  if not is_met(outcome, allow_failure) then return false end
  if not fits(queue_key(P, origin_of(P, id, f.queue)), 'list') then return false end
  local dependencies = dependencies_key(P, id)
  if not fits(dependencies, 'set') then return true end
  for _, other in ipairs(call('SMEMBERS', dependencies)) do
    if other ~= f.job and not is_met(field(job_key(P, other), 'status'), allow_failure) then
      return false
    end
  end
  return true
end

local function release_dependent(f, id, count)
  local P = f.prefix
  local queue = origin_of(P, id, f.queue)
  local ready = registry_key(P, 'ready', queue)
  remove_from_registry(P, 'deferred', queue, id)
  if RELEASED_MAX < count and fits(ready, 'zset') then
    call('HSET', job_key(P, id), 'status', 'ready_to_enqueue')
    call('ZADD', ready, f.now_seconds, id)
    return
  end
  enqueue(f, queue, id, front_of(P, id))
end

local function release_dependents(f, outcome)
  local dependents = dependents_key(f.prefix, f.job)
  local ids, count = redis.pcall('SMEMBERS', dependents), 0
  if is_error(ids) then return end
  f.has_no_dependents = #ids == 0
  for _, id in ipairs(ids) do
    if is_ready(f, outcome, id) then
      count = count + 1
      release_dependent(f, id, count)
      call('SREM', dependents, id)
    end
  end
end

-- Puts dependents that are ready on their queue: those that were too many for one step, and those that
-- a worker of RQ left between its two steps. Returns whether there were any.
local function enqueue_ready(s, queue)
  local P = s.prefix
  local ready = registry_key(P, 'ready', queue)
  if type_of(ready) ~= 'zset' then return false end
  local any = false
  for _, id in ipairs(call('ZRANGE', ready, 0, RELEASED_MAX - 1)) do
    call('ZREM', ready, id)
    if field(job_key(P, id), 'status') == 'ready_to_enqueue' then
      enqueue(s, queue, id, front_of(P, id))
      any = true
    end
  end
  return any
end
