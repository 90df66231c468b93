-- Takes the first job of the first queue that has one, and registers its execution: one step.
--
-- Lua does not roll back. So everything is read and checked first, the first write is one that Redis
-- refuses when it is out of memory, and the pop comes last.

-- Ids without a job that are dropped in one call; the next call meets what is left.
local DROPS_MAX = 1000
local MARGIN = 60

-- Until when, in seconds from now, an execution counts as alive without a heartbeat.
local function life_of(timeout, interval)
  return (0 < timeout and math.min(timeout, interval) or interval) + MARGIN
end

local function register_execution(s, id, origin, life)
  local P, member = s.prefix, id .. ':' .. s.execution
  local execution, executions = execution_key(P, id, s.execution), executions_key(P, id)
  local running = worker_executions_key(P, s.worker)
  make_fit(execution, 'hash')
  make_fit(executions, 'zset')
  make_fit(running, 'set')
  call('HSET', execution, 'id', s.execution, 'job_id', id, 'created_at', s.now_float,
    'last_heartbeat', s.now_float, 'worker_name', s.worker)
  call('EXPIRE', execution, life)
  call('ZADD', executions, s.now_seconds + life + MARGIN, s.execution)
  call('EXPIRE', executions, life + MARGIN)
  call('ZADD', registry_key(P, 'wip', origin), s.now_seconds + life, member)
  call('SADD', running, member)
  call('EXPIRE', running, life)
end

local function take(s, queue, id, origin)
  local P = s.prefix
  local job, worker = job_key(P, id), worker_key(P, s.worker)
  local hash, ttl = call('HGETALL', job), call('PTTL', job)
  local before = call('HMGET', job, unpack(CHANGED_BY_START))
  local life = life_of(integer(call('HGET', job, 'timeout'), DEFAULT_TIMEOUT), s.interval)

  call('HSET', job, 'status', 'started', 'started_at', s.now, 'last_heartbeat', s.now,
    'worker_name', s.worker)
  call('PERSIST', job)
  make_fit(worker, 'hash')
  call('HSET', worker, 'state', 'busy', 'last_heartbeat', s.now, 'current_job', id,
    'freshq_execution', s.execution, 'freshq_job', id, 'freshq_queue', queue,
    'freshq_undo', cjson.encode({before = before, ttl = ttl, life = s.interval + MARGIN}))
  call('EXPIRE', worker, life)
  register_execution(s, id, origin, life)
  call('LPOP', queue_key(P, queue))
  return {'job', queue, id, ttl, hash}
end

-- A started job's fields as they were before the start.
local function fields_before(hash, before)
  local old = {}
  for i, name in ipairs(CHANGED_BY_START) do old[name] = before[i] end
  local fields = {}
  for i = 1, #hash, 2 do
    local name, value = hash[i], hash[i + 1]
    if old[name] ~= nil then value = old[name] end
    if type(value) == 'string' then
      table.insert(fields, name)
      table.insert(fields, value)
    end
  end
  return fields
end

-- The same request again, because its answer was lost: the same job again.
local function taken_before(s)
  local P, worker = s.prefix, worker_key(s.prefix, s.worker)
  if field(worker, 'freshq_execution') ~= s.execution then return nil end
  local noted = call('HMGET', worker, 'freshq_job', 'freshq_queue', 'freshq_undo')
  local id, queue, undo = noted[1], noted[2], noted[3]
  if not (id and queue and undo) then return nil end
  if type_of(job_key(P, id)) ~= 'hash' then
    -- It was deleted since: nobody will ever end this execution.
    clear_execution({prefix = P, worker = s.worker, job = id, execution = s.execution, origin = queue})
    return nil
  end
  undo = cjson.decode(undo)
  return {'job', queue, id, undo.ttl, fields_before(call('HGETALL', job_key(P, id)), undo.before)}
end

-- The first job of the queues, or nil.
local function find(s)
  local P, drops = s.prefix, 0
  for _, queue in ipairs(s.queues) do
    local list = queue_key(P, queue)
    -- A key of another type is somebody's mistake; the other queues go on.
    local id = fits(list, 'list') and call('LINDEX', list, 0)
    while id do
      if field(job_key(P, id), 'data') then
        local origin = origin_of(P, id, queue)
        if fits(registry_key(P, 'wip', origin), 'zset') then return take(s, queue, id, origin) end
        break
      end
      if drops == DROPS_MAX then return nil end
      drops = drops + 1
      call('LPOP', list)
      id = call('LINDEX', list, 0)
    end
  end
  return nil
end

local function start(s)
  local P = s.prefix
  local before = taken_before(s)
  if before then return before end
  if call('EXISTS', suspended_key(P)) == 1 then return {'suspended'} end
  local found = find(s)
  if found then return found end
  local any = false
  for _, queue in ipairs(s.queues) do
    if fits(queue_key(P, queue), 'list') and enqueue_ready(s, queue) then any = true end
  end
  if any then
    found = find(s)
    if found then return found end
  end
  local worker = worker_key(P, s.worker)
  if type_of(worker) == 'hash' then
    -- Out of memory, an idle worker stays alive all the same.
    redis.pcall('HSET', worker, 'state', 'idle', 'last_heartbeat', s.now)
    call('EXPIRE', worker, s.worker_life)
  end
  return {'empty'}
end
