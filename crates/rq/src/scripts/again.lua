-- A job that is to run again: a retry that its client allowed, a retry that the job asked for by what it
-- returned, or a repeat. What is to happen is decided first (a plan), then written.

-- Waits in seconds, as clients write them: a JSON list. What is none is an empty list.
local function waits_of(text)
  local ok, list = pcall(cjson.decode, text or '[]')
  return ok and type(list) == 'table' and list or {}
end

-- A wait that makes no sense is none.
local function seconds(wait)
  if type(wait) ~= 'number' or wait ~= wait or 1e12 < wait then return 0 end
  return math.max(math.floor(wait), 0)
end

-- The n-th retry waits the n-th interval; with more retries than intervals the first one serves until the
-- rest of the list fits.
local function plan_retry(had)
  local left = integer(had.retries_left, 0)
  if left < 1 then return nil end
  local waits = waits_of(had.retry_intervals)
  return {
    how = 'retried',
    left = left - 1,
    wait = seconds(waits[math.max(#waits - left, 0) + 1]),
    front = had.enqueue_at_front_on_retry,
    fields = {'retries_left', left - 1},
  }
end

-- What killed its process would do so for ever: as often as this a job that was lost with it runs again
-- besides the retries that it has.
local LOST_MAX = 3

-- To the front: it was its turn.
local function plan_lost(had)
  local lost = integer(had.freshq_lost, 0)
  if LOST_MAX <= lost then return nil end
  return {
    how = 'requeued',
    left = LOST_MAX - lost - 1,
    wait = 0,
    front = '1',
    fields = {'freshq_lost', lost + 1},
  }
end

-- With more retries than intervals the last one serves.
local function plan_returned_retry(had, retry)
  local done = integer(had.number_of_retries, 0)
  if 0 < done and retry.max <= done then return nil end
  local front = retry.front or had.enqueue_at_front_on_retry == '1'
  local plan = {
    how = 'retried',
    left = retry.max - done - 1,
    wait = seconds(retry.intervals[math.min(#retry.intervals, done + 1)]),
    front = front and '1' or '0',
    fields = {'number_of_retries', done + 1},
  }
  if front then add(plan.fields, 'enqueue_at_front_on_retry', 1) end
  return plan
end

-- Intervals are used up from the front; the last one stays.
local function plan_repeat(had)
  local left = integer(had.repeats_left, 0)
  if left < 1 then return nil end
  local waits = waits_of(had.repeat_intervals)
  local plan = {
    how = 'repeated',
    left = left - 1,
    wait = seconds(waits[1]),
    front = '0',
    fields = {'repeats_left', left - 1},
  }
  if 1 < #waits then
    local rest = string.gsub(had.repeat_intervals, '^%s*%[[^,]*,%s*', '[')
    add(plan.fields, 'repeat_intervals', rest)
  end
  return plan
end

-- Fields of a job that its end depends on.
local READ = {'status', 'origin', 'group_id', 'result_ttl', 'failure_ttl', 'retries_left', 'retry_intervals',
  'enqueue_at_front_on_retry', 'number_of_retries', 'repeats_left', 'repeat_intervals', 'freshq_lost',
  'created_at'}

-- How the job of `f` runs again, or nil. A queue that is somebody's mistake ends it for good.
local function plan_again(f)
  local plan
  if f.kind == 'finished' then plan = plan_repeat(f.had) end
  if f.kind == 'failed' or f.kind == 'handled' then
    plan = f.lost and plan_lost(f.had) or plan_retry(f.had)
  end
  if f.kind == 'retry' then plan = plan_returned_retry(f.had, f.retry) end
  return plan and fits(queue_key(f.prefix, f.queue), 'list') and plan or nil
end

local function run_again(f, plan)
  local P, id, more = f.prefix, f.job, plan.fields
  for _, name in ipairs({'meta', 'result'}) do
    if f[name] ~= '' then add(more, name, f[name]) end
  end
  write_job(f, 'scheduled', more)
  if plan.wait == 0 then
    push(P, f.queue, id, plan.front, f.now)
    return {plan.how, plan.left, 0}
  end
  local due = f.now_seconds + plan.wait
  write_own('SADD', queues_key(P), queue_key(P, f.queue))
  expire_waiting(P, id)
  call('ZADD', registry_key(P, 'scheduled', f.queue), due, id)
  return {plan.how, plan.left, due}
end

-- A registry that the end is to write and that is no sorted set, or nil.
local function broken_registry(f, plan)
  local written = {}
  if f.kind == 'finished' then
    written = {registry_key(f.prefix, 'finished', f.origin)}
  elseif not plan then
    written = {registry_key(f.prefix, 'failed', f.origin)}
  end
  if plan and 0 < plan.wait then add(written, registry_key(f.prefix, 'scheduled', f.queue)) end
  for _, key in ipairs(written) do
    if not fits(key, 'zset') then return key end
  end
end

-- Reads what the end of a job depends on. Returns the plan by which it runs again, or nil, and what keeps
-- the end from being written, if anything does.
local function prepare(f)
  f.had = fields(job_key(f.prefix, f.job), READ)
  for i = 1, #(f.changed or {}), 2 do f.had[f.changed[i]] = f.changed[i + 1] end
  f.origin = (f.had.origin or '') ~= '' and f.had.origin or f.queue
  f.frees_dependents = f.had.status ~= 'canceled' and f.had.status ~= 'stopped'
  local plan = plan_again(f)
  local broken = broken_registry(f, plan)
  return plan, broken and redis.error_reply('WRONGTYPE the registry ' .. broken .. ' is not a sorted set')
end

-- Frees the slot of a job with a rate limit. One that is on its queue again keeps it.
local function leave_slot(f, plan)
  if f.rate_limit_key ~= '' and not (plan and plan.wait == 0) then free_slot(f, f.rate_limit_key, f.job) end
end

-- Ends a job whose worker will not: it is retried, or has failed with what `trace` says. Returns what
-- became of it, or nil and what keeps that from being written.
local function give_up(f, trace)
  f.kind, f.trace, f.value, f.meta, f.result = 'failed', trace, '', '', ''
  local plan, broken = prepare(f)
  if broken then return nil, broken end
  f.rate_limit_key = limit_of(f.prefix, f.job) or ''
  local ended = plan and run_again(f, plan) or fail(f, 'failed')
  leave_slot(f, plan)
  return ended
end
