-- What the end of a job leaves. `f` is the request for the end, with what the job's hash held in `f.had`.
-- It has no `execution` where maintenance ends what nobody else will.

local DEFAULT_FAILURE_TTL = 31536000
-- As many results of a job as RQ keeps.
local RESULTS_MAX = 10

-- RQ's types of results.
local SUCCESSFUL, FAILED, RETRIED, MAX_RETRIES_EXCEEDED = 1, 2, 4, 5

local function add(list, ...)
  for _, item in ipairs({...}) do table.insert(list, item) end
end

-- `data` stands in the field `name`; empty, there is none. `ttl` nil leaves the life of the key as it is.
local function add_result(f, kind, name, data, ttl)
  local results = results_key(f.prefix, f.job)
  local entry = {'type', kind, 'worker_name', f.worker}
  if f.execution then add(entry, 'execution_id', f.execution, 'execution_started_at', f.taken_float) end
  -- As in RQ, a job that was stopped never ended.
  if f.execution and f.kind ~= 'stopped' then add(entry, 'execution_ended_at', f.now_float) end
  if data ~= '' then add(entry, name, data) end
  write_own('XADD', results, 'MAXLEN', '~', RESULTS_MAX, '*', unpack(entry))
  if ttl and ttl < 0 then call('PERSIST', results) end
  if ttl and 0 < ttl then call('EXPIRE', results, ttl) end
end

-- Writes the status of a job, what it changed in itself, the times of its execution, and more fields, as
-- names and values.
local function write_job(f, status, more)
  local written = {'status', status}
  if f.execution then
    add(written, unpack(f.changed))
    add(written, 'started_at', f.started, 'ended_at', f.kind == 'stopped' and '' or f.now,
      'last_heartbeat', f.now, 'worker_name', f.worker)
  end
  add(written, unpack(more or {}))
  call('HSET', job_key(f.prefix, f.job), unpack(written))
  -- It came to an end: the next time it is lost is the first.
  if f.had.freshq_lost and status ~= 'scheduled' then
    call('HDEL', job_key(f.prefix, f.job), 'freshq_lost')
  end
end

local function delete_job(f)
  local P, id, group = f.prefix, f.job, f.had.group_id or ''
  if group ~= '' then remove('SREM', group_key(P, group), id) end
  for _, registry in ipairs({'finished', 'failed', 'canceled'}) do
    remove_from_registry(P, registry, f.origin, id)
  end
  call('DEL', job_key(P, id), dependents_key(P, id), dependencies_key(P, id), results_key(P, id),
    executions_key(P, id))
end

-- The job ends in the failed registry; `status` is failed or stopped.
local function fail(f, status)
  local P, id = f.prefix, f.job
  if f.frees_dependents then release_dependents(f, status) end
  if f.failure_leaves == 'status' and f.kind ~= 'retry' then
    call('HSET', job_key(P, id), 'status', status, 'last_heartbeat', f.now)
    return {status}
  end
  local own_ttl = integer(f.had.failure_ttl)
  local ttl = own_ttl or DEFAULT_FAILURE_TTL
  if ttl == 0 then
    delete_job(f)
    return {status}
  end
  write_job(f, status)
  call('ZADD', registry_key(P, 'failed', f.origin), ttl < 0 and ttl or f.now_seconds + ttl, id)
  if f.trace == '' then
    add_result(f, MAX_RETRIES_EXCEEDED, 'return_value', f.value, own_ttl)
  else
    add_result(f, FAILED, 'exc_string', f.trace, own_ttl)
  end
  if 0 < ttl then expire_job(P, id, ttl, f.has_no_dependents) end
  return {status}
end
