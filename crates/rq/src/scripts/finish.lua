-- The end of an execution: status, result, registries, counters, dependents, another attempt: one step.
--
-- Lua does not roll back. So everything is read and checked first, and the first write, to the worker's
-- record, is one that Redis refuses when it is out of memory.

-- Fields of the worker's record that an end depends on.
local NOTED = {'freshq_number', 'freshq_finished', 'freshq_execution', 'successful_job_count',
  'failed_job_count', 'total_working_time'}

-- Whether this end was recorded before: by the worker's note, or, if its record expired, by the newest
-- result.
local function finished_before(f)
  local noted = fields(worker_key(f.prefix, f.worker), NOTED)
  f.noted, f.held = noted, noted.freshq_execution
  if noted.freshq_finished == f.execution or is_late(noted.freshq_number, f.number) then return true end
  if f.held == f.execution then return false end
  local results = redis.pcall('XREVRANGE', results_key(f.prefix, f.job), '+', '-', 'COUNT', 1)
  local entry = not is_error(results) and results[1] and results[1][2] or {}
  for i = 1, #entry, 2 do
    if entry[i] == 'execution_id' and entry[i + 1] == f.execution then return true end
  end
  return false
end

-- Whether the job waits to run again already: by this end, sent before the worker's record expired, or
-- because it had been given up as abandoned.
local function is_put_back(f)
  if f.had.status ~= 'queued' and f.had.status ~= 'scheduled' then return false end
  if f.kind == 'finished' and not f.repeats then return false end
  local wip = registry_key(f.prefix, 'wip', f.origin)
  return not fits(wip, 'zset') or not call('ZSCORE', wip, f.job .. ':' .. f.execution)
end

-- A worker class of the user's has run the job by RQ's own code, which writes how a job ends; unless its
-- horse died on the way: then the job is started still, by this execution. Returns what became of it.
local function settled(f)
  local wip, status = registry_key(f.prefix, 'wip', f.origin), f.had.status
  local runs = fits(wip, 'zset') and call('ZSCORE', wip, f.job .. ':' .. f.execution)
  if status == 'started' and runs then return nil end
  if status == 'finished' or status == 'failed' then return {status} end
  if status == 'queued' or status == 'scheduled' then
    return {'retried', integer(f.had.retries_left, 0), 0}
  end
  return {'already'}
end

-- Whether the job was not deleted meanwhile: what is written to it later makes no job of its key.
local function is_there(f)
  return f.had.created_at or redis.pcall('HEXISTS', job_key(f.prefix, f.job), 'data') == 1
end

-- The worker's counters after this end, as names and values. What somebody made a word of is left alone.
local function counted(f)
  local name = f.kind == 'finished' and 'successful_job_count' or 'failed_job_count'
  local count, time, written = integer(f.noted[name] or '0'), tonumber(f.noted.total_working_time or '0'), {}
  if count then add(written, name, count + 1) end
  if time and f.kind ~= 'stopped' then
    add(written, 'total_working_time', string.format('%.15g', time + tonumber(f.working_time)))
  end
  return written
end

-- Writes what a worker's record says after an execution, whatever became of the job. What it says of the
-- execution itself is written over by the next start, or goes when there is none: `lie_idle`.
local function note_idle(f, counters)
  f.is_noted = true
  write_own('HSET', worker_key(f.prefix, f.worker), 'freshq_finished', f.execution,
    'freshq_number', f.number, 'state', 'idle', 'last_heartbeat', f.now, unpack(counters))
  unlist_execution(f)
end

local function lie_idle(f)
  -- A record that had expired must not come back for ever; the next heartbeat completes it.
  call('EXPIRE', worker_key(f.prefix, f.worker), f.worker_life)
  forget_execution(f)
end

local function succeed(f, plan)
  local P, id = f.prefix, f.job
  local ttl = integer(f.had.result_ttl, f.default_result_ttl)
  if f.frees_dependents then release_dependents(f, 'finished') end
  if ttl ~= 0 then
    add_result(f, SUCCESSFUL, 'return_value', f.value, ttl)
    call('ZADD', registry_key(P, 'finished', f.origin), ttl < 0 and '+inf' or f.now_seconds + ttl, id)
    -- A job that was given up as abandoned and finishes late ends in one registry.
    if f.had.status == 'failed' then remove_from_registry(P, 'failed', f.origin, id) end
  end
  if plan then return run_again(f, plan) end
  if ttl == 0 then
    delete_job(f)
  else
    write_job(f, 'finished')
    if 0 < ttl then expire_job(P, id, ttl, f.has_no_dependents) end
  end
  return {'finished'}
end

-- Writes how the job ended, or puts it back; returns what became of it.
local function end_job(f, plan)
  if f.kind == 'finished' then return succeed(f, plan) end
  if not plan then return fail(f, f.kind == 'stopped' and 'stopped' or 'failed') end
  if f.kind == 'retry' then add_result(f, RETRIED, 'return_value', f.value, integer(f.had.failure_ttl)) end
  return run_again(f, plan)
end

local function finish(f)
  if finished_before(f) then return {'already'} end
  local plan, broken = prepare(f)
  if broken then return broken end
  if f.kind == 'handled' then
    local settled = settled(f)
    if settled then
      note_idle(f, {})
      return settled
    end
  end
  local put_back, there = is_put_back(f), is_there(f)
  note_idle(f, counted(f))
  if put_back then return {'already'} end
  if not there then plan = nil end
  local ended = there and end_job(f, plan) or {'gone'}
  leave_slot(f, plan)
  return ended
end
