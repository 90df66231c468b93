-- The end of an execution: status, result, registries, counters, dependents, retries: one step.

local DEFAULT_FAILURE_TTL = 31536000

local function finished_before(f)
  local P = f.prefix
  if call('HGET', worker_key(P, f.worker), 'freshq_finished') == f.execution then return true end
  local results = results_key(P, f.job)
  if call('TYPE', results)['ok'] ~= 'stream' then return false end
  for _, entry in ipairs(call('XREVRANGE', results, '+', '-', 'COUNT', 1)) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'execution_id' and entry[2][i + 1] == f.execution then return true end
    end
  end
  return false
end

local function add_result(f, kind, field, data)
  local results = results_key(f.prefix, f.job)
  make_fit(results, 'stream')
  local entry = {'XADD', results, 'MAXLEN', '~', 10, '*', 'type', kind, 'worker_name', f.worker}
  if data ~= '' then
    table.insert(entry, field)
    table.insert(entry, data)
  end
  for _, pair in ipairs({{'execution_id', f.execution}, {'execution_started_at', f.started_float},
    {'execution_ended_at', f.ended_float}}) do
    table.insert(entry, pair[1])
    table.insert(entry, pair[2])
  end
  call(unpack(entry))
  return results
end

local function write_times(f, status)
  call('HSET', job_key(f.prefix, f.job), 'status', status, 'started_at', f.started, 'ended_at', f.ended,
    'last_heartbeat', f.ended, 'worker_name', f.worker)
end

local function delete_job(f, origin)
  local P, id = f.prefix, f.job
  local group = call('HGET', job_key(P, id), 'group_id')
  if group and group ~= '' then call('SREM', P .. ':group:' .. group, id) end
  call('ZREM', registry_key(P, 'finished', origin), id)
  call('ZREM', registry_key(P, 'failed', origin), id)
  call('DEL', job_key(P, id), dependents_key(P, id), dependencies_key(P, id), results_key(P, id),
    executions_key(P, id))
end

local function succeed(f, origin, value)
  local P, id = f.prefix, f.job
  local ttl = number(call('HGET', job_key(P, id), 'result_ttl'), f.default_result_ttl)
  call('HINCRBY', worker_key(P, f.worker), 'successful_job_count', 1)
  if f.was ~= 'canceled' then release_dependents(f, 'finished') end
  if ttl == 0 then
    delete_job(f, origin)
    return {'finished'}
  end
  write_times(f, 'finished')
  local results = add_result(f, 1, 'return_value', value)
  -- A job that was given up as abandoned and finishes late ends in one registry.
  call('ZREM', registry_key(P, 'failed', origin), id)
  if ttl < 0 then
    call('PERSIST', results)
    call('ZADD', registry_key(P, 'finished', origin), '+inf', id)
  else
    call('EXPIRE', results, ttl)
    call('ZADD', registry_key(P, 'finished', origin), f.now_seconds + ttl, id)
    expire_job(P, id, ttl)
  end
  return {'finished'}
end

-- The n-th retry waits the n-th interval; with fewer intervals than retries the first one serves until
-- the list fits.
local function retry_interval(job, left)
  local ok, intervals = pcall(cjson.decode, call('HGET', job, 'retry_intervals') or '[]')
  if not ok or type(intervals) ~= 'table' or #intervals == 0 then return 0 end
  return number(tostring(intervals[math.max(#intervals - left, 0) + 1]), 0)
end

local function retry(f, origin, left, meta)
  local P, id, job = f.prefix, f.job, job_key(f.prefix, f.job)
  local interval = retry_interval(job, left)
  write_times(f, 0 < interval and 'scheduled' or 'queued')
  call('HSET', job, 'retries_left', left - 1)
  if meta ~= '' then call('HSET', job, 'meta', meta) end
  if 0 < interval then
    call('SADD', P .. ':queues', queue_key(P, origin))
    call('ZADD', registry_key(P, 'scheduled', origin), f.now_seconds + interval, id)
    return {'scheduled', left - 1, f.now_seconds + interval}
  end
  call('HSET', job, 'enqueued_at', f.ended)
  push(P, origin, id, call('HGET', job, 'enqueue_at_front_on_retry'))
  return {'retried', left - 1}
end

local function fail(f, origin, trace, meta)
  local P, id, job = f.prefix, f.job, job_key(f.prefix, f.job)
  call('HINCRBY', worker_key(P, f.worker), 'failed_job_count', 1)
  local left = number(call('HGET', job, 'retries_left'), 0)
  if 0 < left then return retry(f, origin, left, meta) end
  local own_ttl = number(call('HGET', job, 'failure_ttl'))
  local ttl = own_ttl or DEFAULT_FAILURE_TTL
  if f.was ~= 'canceled' then release_dependents(f, 'failed') end
  if ttl == 0 then
    delete_job(f, origin)
    return {'failed'}
  end
  write_times(f, 'failed')
  call('ZREM', registry_key(P, 'finished', origin), id)
  call('ZADD', registry_key(P, 'failed', origin), ttl < 0 and ttl or f.now_seconds + ttl, id)
  local results = add_result(f, 2, 'exc_string', trace)
  if 0 < ttl then
    expire_job(P, id, ttl)
    if own_ttl then call('EXPIRE', results, ttl) end
  end
  return {'failed'}
end

local function finish(f, value, trace, meta)
  local P, job = f.prefix, job_key(f.prefix, f.job)
  if finished_before(f) then return {'already'} end
  local there = call('TYPE', job)['ok'] == 'hash'
  local origin = there and call('HGET', job, 'origin') or ''
  if not origin or origin == '' then origin = f.queue end
  for _, registry in ipairs({'finished', 'failed', 'scheduled', 'wip'}) do
    local key = registry_key(P, registry, registry == 'wip' and f.queue or origin)
    if not fits(key, 'zset') then
      return redis.error_reply('WRONGTYPE the registry ' .. key .. ' is not a sorted set')
    end
  end
  local worker = worker_key(P, f.worker)
  f.was = there and call('HGET', job, 'status')
  call('HSET', worker, 'freshq_finished', f.execution, 'state', 'idle', 'last_heartbeat', f.ended)
  clear_execution(f)
  call('HINCRBYFLOAT', worker, 'total_working_time', f.working_time)
  if not there then return {'gone'} end
  if f.kind == 'finished' then return succeed(f, origin, value) end
  return fail(f, origin, trace, meta)
end
