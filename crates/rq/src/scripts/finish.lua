-- The end of an execution: status, result, registries, counters, dependents, retries: one step.

local DEFAULT_FAILURE_TTL = 31536000
-- As many results of a job as RQ keeps.
local RESULTS_MAX = 10

-- Whether this end was recorded before: by the worker's note, or, if its record expired, by the newest
-- result.
local function finished_before(f)
  local P = f.prefix
  if field(worker_key(P, f.worker), 'freshq_finished') == f.execution then return true end
  local results = results_key(P, f.job)
  if type_of(results) ~= 'stream' then return false end
  for _, entry in ipairs(call('XREVRANGE', results, '+', '-', 'COUNT', 1)) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'execution_id' and entry[2][i + 1] == f.execution then return true end
    end
  end
  return false
end

local function add_result(f, kind, name, data)
  local results = results_key(f.prefix, f.job)
  make_fit(results, 'stream')
  local fields = {'type', kind, 'worker_name', f.worker}
  if data ~= '' then
    table.insert(fields, name)
    table.insert(fields, data)
  end
  if f.execution then
    for _, text in ipairs({'execution_id', f.execution, 'execution_started_at', f.began_float}) do
      table.insert(fields, text)
    end
  end
  if f.execution and f.kind ~= 'stopped' then
    table.insert(fields, 'execution_ended_at')
    table.insert(fields, f.now_float)
  end
  call('XADD', results, 'MAXLEN', '~', RESULTS_MAX, '*', unpack(fields))
  return results
end

local function write_times(f, status)
  -- When a job that maintenance gives up began and ended, nobody knows.
  if not f.execution then return call('HSET', job_key(f.prefix, f.job), 'status', status) end
  -- As in RQ, a job that was stopped never ended.
  local ended = f.kind == 'stopped' and '' or f.now
  call('HSET', job_key(f.prefix, f.job), 'status', status, 'started_at', f.started, 'ended_at', ended,
    'last_heartbeat', f.now, 'worker_name', f.worker)
end

local function delete_job(f)
  local P, id = f.prefix, f.job
  local group = call('HGET', job_key(P, id), 'group_id') or ''
  if group ~= '' and fits(group_key(P, group), 'set') then call('SREM', group_key(P, group), id) end
  for _, registry in ipairs({'finished', 'failed', 'canceled'}) do
    remove_from_registry(P, registry, f.origin, id)
  end
  call('DEL', job_key(P, id), dependents_key(P, id), dependencies_key(P, id), results_key(P, id),
    executions_key(P, id))
end

local function succeed(f, value)
  local P, id = f.prefix, f.job
  local ttl = integer(call('HGET', job_key(P, id), 'result_ttl'), f.default_result_ttl)
  if f.frees_dependents then release_dependents(f, 'finished') end
  if ttl == 0 then
    delete_job(f)
    return {'finished'}
  end
  write_times(f, 'finished')
  local results = add_result(f, 1, 'return_value', value)
  -- A job that was given up as abandoned and finishes late ends in one registry.
  remove_from_registry(P, 'failed', f.origin, id)
  if ttl < 0 then
    call('PERSIST', results)
    call('ZADD', registry_key(P, 'finished', f.origin), '+inf', id)
  else
    call('EXPIRE', results, ttl)
    call('ZADD', registry_key(P, 'finished', f.origin), f.now_seconds + ttl, id)
    expire_job(P, id, ttl)
  end
  return {'finished'}
end

-- The n-th retry waits the n-th interval; with more retries than intervals the first one serves until the
-- rest of the list fits.
local function retry_interval(job, left)
  local ok, intervals = pcall(cjson.decode, call('HGET', job, 'retry_intervals') or '[]')
  if not ok or type(intervals) ~= 'table' then return 0 end
  local interval = intervals[math.max(#intervals - left, 0) + 1]
  if type(interval) ~= 'number' or interval ~= interval or 1e12 < interval then return 0 end
  return math.max(math.floor(interval), 0)
end

local function retry(f, left, meta)
  local P, id, job = f.prefix, f.job, job_key(f.prefix, f.job)
  local interval = retry_interval(job, left)
  write_times(f, 'scheduled')
  call('HSET', job, 'retries_left', left - 1)
  if meta ~= '' then call('HSET', job, 'meta', meta) end
  if 0 < interval then
    make_fit(queues_key(P), 'set')
    call('SADD', queues_key(P), queue_key(P, f.queue))
    expire_waiting(P, id)
    call('ZADD', registry_key(P, 'scheduled', f.queue), f.now_seconds + interval, id)
    return {'scheduled', left - 1, f.now_seconds + interval}
  end
  push(P, f.queue, id, call('HGET', job, 'enqueue_at_front_on_retry'), f.now)
  return {'retried', left - 1}
end

-- `status` is failed or stopped.
local function fail(f, status, trace)
  local P, id, job = f.prefix, f.job, job_key(f.prefix, f.job)
  local own_ttl = integer(call('HGET', job, 'failure_ttl'))
  local ttl = own_ttl or DEFAULT_FAILURE_TTL
  if f.frees_dependents then release_dependents(f, status) end
  if ttl == 0 then
    delete_job(f)
    return {status}
  end
  write_times(f, status)
  call('ZADD', registry_key(P, 'failed', f.origin), ttl < 0 and ttl or f.now_seconds + ttl, id)
  local results = add_result(f, 2, 'exc_string', trace)
  if 0 < ttl then
    expire_job(P, id, ttl)
    if own_ttl then call('EXPIRE', results, ttl) end
  end
  return {status}
end

local function retry_or_fail(f, trace, meta)
  local left = integer(call('HGET', job_key(f.prefix, f.job), 'retries_left'), 0)
  if 0 < left and fits(queue_key(f.prefix, f.queue), 'list') then return retry(f, left, meta) end
  return fail(f, 'failed', trace)
end

-- Writes what a worker's record says after an execution, whatever became of the job.
local function note_end(f)
  local worker = worker_key(f.prefix, f.worker)
  make_fit(worker, 'hash')
  call('HSET', worker, 'freshq_finished', f.execution, 'state', 'idle', 'last_heartbeat', f.now)
  -- A record that had expired must not come back for ever; the next heartbeat completes it.
  if call('TTL', worker) < RECORD_LIFE then call('EXPIRE', worker, RECORD_LIFE) end
  clear_execution(f)
  -- A counter that somebody made a word of is left alone.
  redis.pcall('HINCRBY', worker, f.kind == 'finished' and 'successful_job_count' or 'failed_job_count', 1)
  if f.kind ~= 'stopped' then redis.pcall('HINCRBYFLOAT', worker, 'total_working_time', f.working_time) end
end

-- A registry that this end may write and that is no sorted set, or nil.
local function broken_registry(f)
  for _, registry in ipairs({'wip', 'finished', 'failed'}) do
    local key = registry_key(f.prefix, registry, f.origin)
    if not fits(key, 'zset') then return key end
  end
  local scheduled = registry_key(f.prefix, 'scheduled', f.queue)
  if not fits(scheduled, 'zset') then return scheduled end
end

-- Writes how the job ended, or puts it back; returns what became of it.
local function end_job(f, value, trace, meta)
  if f.kind == 'finished' then return succeed(f, value) end
  if f.kind == 'stopped' then return fail(f, 'stopped', trace) end
  return retry_or_fail(f, trace, meta)
end

-- A job that is on its queue again keeps its slot.
local function leave_slot(f)
  local limit = f.rate_limit_key
  if limit ~= '' and field(job_key(f.prefix, f.job), 'status') ~= 'queued' then free_slot(f, limit, f.job) end
end

local function finish(f, value, trace, meta)
  local P, job = f.prefix, job_key(f.prefix, f.job)
  if finished_before(f) then return {'already'} end
  f.origin = origin_of(P, f.job, f.queue)
  local broken = broken_registry(f)
  if broken then
    return redis.error_reply('WRONGTYPE the registry ' .. broken .. ' is not a sorted set')
  end
  local status = field(job, 'status')
  f.frees_dependents = status ~= 'canceled' and status ~= 'stopped'
  f.began_float = field(execution_key(P, f.job, f.execution), 'created_at') or f.started_float
  local runs = call('ZSCORE', registry_key(P, 'wip', f.origin), f.job .. ':' .. f.execution)
  note_end(f)
  -- It was put back already: by this end, sent before the worker's record expired, or as abandoned.
  if f.kind ~= 'finished' and not runs and (status == 'queued' or status == 'scheduled') then
    return {'already'}
  end
  local ended = field(job, 'data') and end_job(f, value, trace, meta) or {'gone'}
  leave_slot(f)
  return ended
end
