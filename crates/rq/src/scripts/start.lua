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

local function register_execution(s, id, life)
  local P = s.prefix
  local execution, executions = execution_key(P, id, s.execution), executions_key(P, id)
  local running = worker_executions_key(P, s.worker)
  write_own('HSET', execution, 'id', s.execution, 'job_id', id, 'created_at', s.now_float,
    'last_heartbeat', s.now_float, 'worker_name', s.worker)
  call('EXPIRE', execution, life)
  write_own('ZADD', executions, s.now_seconds + life + MARGIN, s.execution)
  call('EXPIRE', executions, life + MARGIN)
  write_own('SADD', running, id .. ':' .. s.execution)
  call('EXPIRE', running, life)
end

-- The fields of a job, flat as Redis gives them and by name; a key of another type has none. A value that
-- brings them over `bytes_max` is left out, and its name is the third answer.
local function read_job(P, id, bytes_max)
  local flat, by_name = redis.pcall('HGETALL', job_key(P, id)), {}
  if is_error(flat) then return {}, by_name, '' end
  local bytes, too_large = 0, ''
  for i = 1, #flat, 2 do
    if bytes_max < bytes + #flat[i + 1] then
      flat[i + 1], too_large = '', flat[i]
    end
    bytes = bytes + #flat[i + 1]
    by_name[flat[i]] = flat[i + 1]
  end
  return flat, by_name, too_large
end

-- Takes the job at the head of a queue; nil if its registry is somebody's mistake.
local function take(s, queue, id, flat, had, too_large)
  local P = s.prefix
  local job, worker = job_key(P, id), worker_key(P, s.worker)
  local origin = (had.origin or '') ~= '' and had.origin or queue
  local life = life_of(integer(had.timeout, DEFAULT_TIMEOUT), s.interval)
  local ttl, before = call('PTTL', job), {}
  for i, name in ipairs(CHANGED_BY_START) do before[i] = had[name] or false end

  local wip, member = registry_key(P, 'wip', origin), id .. ':' .. s.execution
  if not write('ZADD', wip, s.now_seconds + life, member) then return nil end
  call('HSET', job, 'status', 'started', 'started_at', s.now, 'last_heartbeat', s.now,
    'worker_name', s.worker, 'generation', s.generation, 'code_hash', s.code_hash)
  if 0 <= ttl then call('PERSIST', job) end
  write_own('HSET', worker, 'state', 'busy', 'last_heartbeat', s.now, 'current_job', id,
    'freshq_number', s.number, 'freshq_execution', s.execution, 'freshq_job', id, 'freshq_queue', queue,
    'freshq_undo', cjson.encode({before = before, ttl = ttl, life = s.interval + MARGIN}))
  call('EXPIRE', worker, life)
  register_execution(s, id, life)
  call('LPOP', queue_key(P, queue))
  return {'job', queue, id, ttl, flat, too_large}
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

-- The same request again, because its answer was lost: the same job again. One that comes late, or after
-- the death of its worker, finds nothing.
local function answered_before(s)
  local P, worker = s.prefix, worker_key(s.prefix, s.worker)
  local noted = fields(worker, {'freshq_execution', 'freshq_job', 'freshq_queue', 'freshq_undo',
    'freshq_number', 'death'})
  if noted.death or is_late(noted.freshq_number, s.number) then return {'empty'} end
  local id, queue, undo = noted.freshq_job, noted.freshq_queue, noted.freshq_undo
  if noted.freshq_execution ~= s.execution or not (id and queue and undo) then return nil end
  local flat, _, too_large = read_job(P, id, s.job_bytes_max)
  if #flat == 0 then
    -- It was deleted since: nobody will ever end this execution.
    clear_execution({prefix = P, worker = s.worker, job = id, execution = s.execution, origin = queue})
    return nil
  end
  undo = cjson.decode(undo)
  return {'job', queue, id, undo.ttl, fields_before(flat, undo.before), too_large}
end

-- The id at the head of a queue, or nil. A key of another type is somebody's mistake; the other queues
-- go on.
local function head(list)
  local id = redis.pcall('LINDEX', list, 0)
  return not is_error(id) and id or nil
end

-- The first job of the queues, or nil.
local function find(s)
  local P, drops = s.prefix, 0
  for _, queue in ipairs(s.queues) do
    local list = queue_key(P, queue)
    local id = head(list)
    while id do
      local flat, had, too_large = read_job(P, id, s.job_bytes_max)
      if had.data then
        local taken = take(s, queue, id, flat, had, too_large)
        if taken then return taken end
        break
      end
      if drops == DROPS_MAX then return nil end
      drops = drops + 1
      call('LPOP', list)
      id = head(list)
    end
  end
  return nil
end

local function start(s, is_new)
  local P = s.prefix
  local before = not is_new and answered_before(s)
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
    redis.pcall('HSET', worker, 'state', 'idle', 'last_heartbeat', s.now, 'freshq_number', s.number)
    call('EXPIRE', worker, s.worker_life)
  end
  return {'empty'}
end
