-- Keeps a worker's record alive, and writes it whole when it has vanished; with an execution, keeps that
-- alive too.
-- ARGV: request (JSON), job id. Returns whether the record had to be written again, and whether the job
-- was deleted meanwhile.

local MARGIN = 60

-- How long a busy worker's record is kept: the start noted it.
local function busy_life(worker, default)
  local ok, undo = pcall(cjson.decode, call('HGET', worker, 'freshq_undo') or 'null')
  return ok and type(undo) == 'table' and undo.life or default
end

-- Notes again what a worker runs, in a record that had vanished.
local function note_execution(h, worker)
  call('HSET', worker, 'current_job', h.job, 'freshq_execution', h.execution, 'freshq_job', h.job,
    'freshq_queue', h.queue)
  local running = worker_executions_key(h.prefix, h.worker)
  make_fit(running, 'set')
  call('SADD', running, h.job .. ':' .. h.execution)
end

-- Returns false if the job was deleted meanwhile: it must not come back as half a hash.
local function keep_execution(h)
  local P = h.prefix
  local job, execution = job_key(P, h.job), execution_key(P, h.job, h.execution)
  if not field(job, 'data') then return false end
  make_fit(execution, 'hash')
  if call('HSETNX', execution, 'id', h.execution) == 1 then
    call('HSET', execution, 'job_id', h.job, 'created_at', h.started_float, 'worker_name', h.worker)
  end
  call('HSET', execution, 'last_heartbeat', h.now_float)
  call('EXPIRE', execution, h.ttl)
  local wip, executions = registry_key(P, 'wip', origin_of(P, h.job, h.queue)), executions_key(P, h.job)
  if fits(wip, 'zset') then
    call('ZADD', wip, 'XX', h.now_seconds + h.ttl, h.job .. ':' .. h.execution)
  end
  make_fit(executions, 'zset')
  call('ZADD', executions, 'XX', h.now_seconds + h.ttl + MARGIN, h.execution)
  call('EXPIRE', executions, h.ttl + MARGIN)
  call('HSET', job, 'last_heartbeat', h.now)
  return true
end

local h = cjson.decode(ARGV[1])
h.job = ARGV[2]
local worker = worker_key(h.prefix, h.worker)
make_fit(worker, 'hash')
local noted = fields(worker, {'birth', 'freshq_number'})
if h.execution and is_late(noted.freshq_number, h.number) then return {0, 0} end
local known = noted.birth ~= nil
local life = h.execution and busy_life(worker, h.life) or h.life
-- First: out of memory, Redis refuses no EXPIRE, and nothing that comes after a write. Nobody may count as
-- dead because Redis is full.
call('EXPIRE', worker, life)
call('HSET', worker, 'last_heartbeat', h.now, 'state', h.birth.state)
if not known then
  write_birth(h)
  if h.execution then note_execution(h, worker) end
  call('EXPIRE', worker, life)
end
call('EXPIRE', worker_executions_key(h.prefix, h.worker), life)
local there = not h.execution or keep_execution(h)
return {known and 0 or 1, there and 0 or 1}
