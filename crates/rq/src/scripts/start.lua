-- Takes the first job of the first queue that has one, and registers its execution: one step.
--
-- Lua does not roll back. So everything is read and checked first, the first write is one that Redis
-- refuses when it is out of memory, and the pop comes last.

-- Ids without a job that are dropped in one call; what is left is met by the next.
local DROPS_MAX = 1000
local MARGIN = 60
local DEFAULT_TIMEOUT = 180

local function take(s, queue, id)
  local P = s.prefix
  local job, worker = job_key(P, id), worker_key(P, s.worker)
  local hash, ttl = call('HGETALL', job), call('PTTL', job)
  local before = call('HMGET', job, 'status', 'started_at', 'worker_name', 'last_heartbeat')
  local timeout = number(call('HGET', job, 'timeout'), DEFAULT_TIMEOUT)
  local life = (0 < timeout and math.min(math.floor(timeout), s.interval) or s.interval) + MARGIN
  make_fit(executions_key(P, id), 'zset')
  make_fit(worker_executions_key(P, s.worker), 'set')
  make_fit(execution_key(P, id, s.execution), 'hash')

  call('HSET', worker, 'state', 'busy', 'last_heartbeat', s.now, 'current_job', id,
    'freshq_execution', s.execution, 'freshq_job', id, 'freshq_queue', queue,
    'freshq_undo', cjson.encode({before = before, ttl = ttl}))
  call('EXPIRE', worker, life)
  local execution = execution_key(P, id, s.execution)
  call('HSET', execution, 'id', s.execution, 'job_id', id, 'created_at', s.now_float,
    'last_heartbeat', s.now_float, 'worker_name', s.worker)
  call('EXPIRE', execution, life)
  call('ZADD', executions_key(P, id), s.now_seconds + life + MARGIN, s.execution)
  call('EXPIRE', executions_key(P, id), life + MARGIN)
  call('ZADD', registry_key(P, 'wip', queue), s.now_seconds + life, id .. ':' .. s.execution)
  call('SADD', worker_executions_key(P, s.worker), id .. ':' .. s.execution)
  call('EXPIRE', worker_executions_key(P, s.worker), life + MARGIN)
  call('HSET', job, 'status', 'started', 'started_at', s.now, 'last_heartbeat', s.now,
    'worker_name', s.worker)
  call('PERSIST', job)
  call('LPOP', queue_key(P, queue))
  return {'job', queue, id, ttl, hash}
end

-- The same request again, because its answer was lost: the same job again.
local function taken_before(s)
  local P, worker = s.prefix, worker_key(s.prefix, s.worker)
  if call('HGET', worker, 'freshq_execution') ~= s.execution then return nil end
  local id, queue = call('HGET', worker, 'freshq_job'), call('HGET', worker, 'freshq_queue')
  local undo = cjson.decode(call('HGET', worker, 'freshq_undo'))
  local hash = call('HGETALL', job_key(P, id))
  if #hash == 0 then return nil end
  return {'job', queue, id, undo.ttl, hash}
end

local function start(s)
  local P = s.prefix
  local before = taken_before(s)
  if before then return before end
  if call('EXISTS', P .. ':suspended') == 1 then return {'suspended'} end
  for _, queue in ipairs(s.queues) do
    local list = queue_key(P, queue)
    -- A queue or registry of another type is somebody's mistake; the other queues go on.
    if fits(list, 'list') and fits(registry_key(P, 'wip', queue), 'zset') then
      for _ = 1, DROPS_MAX do
        local id = call('LINDEX', list, 0)
        if not id then break end
        local job = job_key(P, id)
        if call('TYPE', job)['ok'] == 'hash' and call('HEXISTS', job, 'data') == 1 then
          return take(s, queue, id)
        end
        call('LPOP', list)
      end
    end
  end
  local worker = worker_key(P, s.worker)
  if call('EXISTS', worker) == 1 then
    call('HSET', worker, 'state', 'idle', 'last_heartbeat', s.now)
    call('EXPIRE', worker, s.worker_life)
  end
  return {'empty'}
end
