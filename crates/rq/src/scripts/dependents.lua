-- A job that has ended frees those that waited for it: deferred -> queued, in the step that ends it.

-- Dependents that are put on their queues in one call; the rest goes by the ready registry, whose
-- members any worker's maintenance puts on their queues, so that no script blocks Redis for long.
local RELEASED_MAX = 1000

local function is_met(status, allow_failure)
  return not status or status == 'finished' or (status == 'failed' and allow_failure)
end

local function is_ready(f, outcome, id)
  local P, dependent = f.prefix, job_key(f.prefix, id)
  local status = call('HGET', dependent, 'status')
  if not status or status == 'canceled' then return false end
  local allow_failure = call('HGET', dependent, 'allow_dependency_failures') == '1'
  if not is_met(outcome, allow_failure) then return false end
  local dependencies = dependencies_key(P, id)
  if not fits(dependencies, 'set') then return true end
  for _, other in ipairs(call('SMEMBERS', dependencies)) do
    if other ~= f.job and not is_met(call('HGET', job_key(P, other), 'status'), allow_failure) then
      return false
    end
  end
  return true
end

local function release_dependent(f, id, count)
  local P, dependent = f.prefix, job_key(f.prefix, id)
  local queue = call('HGET', dependent, 'origin') or f.queue
  call('ZREM', registry_key(P, 'deferred', queue), id)
  -- A rate-limited job has to pass its limiter first.
  local limited = (call('HGET', dependent, 'rate_limit_key') or '') ~= ''
  if limited or RELEASED_MAX < count then
    call('HSET', dependent, 'status', 'ready_to_enqueue')
    call('ZADD', registry_key(P, 'ready', queue), f.now_seconds, id)
    return
  end
  call('HSET', dependent, 'status', 'queued', 'enqueued_at', f.ended)
  if call('HEXISTS', dependent, 'timeout') == 0 then call('HSET', dependent, 'timeout', '180') end
  push(P, queue, id, call('HGET', dependent, 'enqueue_at_front'))
end

local function release_dependents(f, outcome)
  local dependents = dependents_key(f.prefix, f.job)
  if not fits(dependents, 'set') then return end
  local count = 0
  for _, id in ipairs(call('SMEMBERS', dependents)) do
    if fits(job_key(f.prefix, id), 'hash') and is_ready(f, outcome, id) then
      count = count + 1
      release_dependent(f, id, count)
      call('SREM', dependents, id)
    end
  end
end
