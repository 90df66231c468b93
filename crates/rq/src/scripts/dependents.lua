-- A job that has ended frees those that waited for it: deferred -> queued, in the step that ends it.

-- Dependents that are put on their queues in one step. The rest goes to the ready registry, from which
-- `start` takes them, so that no script blocks Redis for long.
local RELEASED_MAX = 1000

local function is_met(status, allow_failure)
  return not status or status == 'finished' or (status == 'failed' and allow_failure)
end

-- A rate-limited job has to pass its limiter first.
local function is_limited(job)
  return (call('HGET', job, 'rate_limit_key') or '') ~= ''
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
  local P, dependent = f.prefix, job_key(f.prefix, id)
  local queue = origin_of(P, id, f.queue)
  local ready = registry_key(P, 'ready', queue)
  remove_from_registry(P, 'deferred', queue, id)
  if (is_limited(dependent) or RELEASED_MAX < count) and fits(ready, 'zset') then
    call('HSET', dependent, 'status', 'ready_to_enqueue')
    call('ZADD', ready, f.now_seconds, id)
    return
  end
  push(P, queue, id, call('HGET', dependent, 'enqueue_at_front'), f.ended)
end

local function release_dependents(f, outcome)
  local dependents = dependents_key(f.prefix, f.job)
  if not fits(dependents, 'set') then return end
  local count = 0
  for _, id in ipairs(call('SMEMBERS', dependents)) do
    if is_ready(f, outcome, id) then
      count = count + 1
      release_dependent(f, id, count)
      call('SREM', dependents, id)
    end
  end
end

-- Puts dependents that are ready on their queue: those that were too many for one step, and those that
-- a worker of RQ left between its two steps. Returns whether there were any.
local function enqueue_ready(P, queue, now)
  local ready = registry_key(P, 'ready', queue)
  if type_of(ready) ~= 'zset' then return false end
  local any = false
  for _, id in ipairs(call('ZRANGE', ready, 0, RELEASED_MAX - 1)) do
    local job = job_key(P, id)
    local status = field(job, 'status')
    if status ~= 'ready_to_enqueue' then
      call('ZREM', ready, id)
    elseif not is_limited(job) then
      call('ZREM', ready, id)
      push(P, queue, id, call('HGET', job, 'enqueue_at_front'), now)
      any = true
    end
  end
  return any
end
