-- Jobs that share a rate limit: so many of them may be queued or running at once, the others wait here.
--
-- Each function takes the request of its script, which has `prefix`, `now` and `now_seconds`. Who waits
-- longest goes first. A slot is held until the job ends or waits for a delayed attempt.

-- Waiting jobs that are looked at in one step; the next step meets what is left.
local ADMITTED_MAX = 1000

-- The key of a job's rate limit and how many jobs it allows, or nil.
local function limit_of(P, id)
  local limit = fields(job_key(P, id), {'rate_limit_key', 'rate_limit_concurrency'})
  local key, concurrency = limit.rate_limit_key, integer(limit.rate_limit_concurrency, 0)
  if not key or key == '' or concurrency == 0 then return nil end
  return key, concurrency
end

-- Fills free slots with waiting jobs. Returns how many were let through.
local function admit(s, key)
  local P = s.prefix
  local slots, waiting = limit_slots_key(P, key), limit_waiting_key(P, key)
  make_fit(slots, 'zset')
  make_fit(waiting, 'zset')
  local free = integer(field(limit_key(P, key), 'concurrency'), 0) - call('ZCARD', slots)
  local admitted, passed = 0, 0
  for _ = 1, ADMITTED_MAX do
    local id = admitted < free and call('ZRANGE', waiting, passed, passed)[1]
    if not id then break end
    local job = job_key(P, id)
    local had = fields(job, {'origin', 'status', 'enqueue_at_front'})
    local queue = had.origin
    if not queue or had.status ~= 'rate_limited' then
      call('ZREM', waiting, id)
    elseif not fits(queue_key(P, queue), 'list') then
      passed = passed + 1 -- it waits until the queue is one again
    else
      call('ZREM', waiting, id)
      call('ZADD', slots, s.now_seconds, id)
      call('HSET', job, 'status', 'queued', 'enqueued_at', s.now)
      call(had.enqueue_at_front == '1' and 'LPUSH' or 'RPUSH', queue_key(P, queue), id)
      admitted = admitted + 1
    end
  end
  return admitted
end

-- Puts a job on its queue, or, if it has a rate limit, behind those that wait for it. `front` is '1' for
-- the head of the queue.
local function enqueue(s, queue, id, front)
  local P = s.prefix
  local key, concurrency = limit_of(P, id)
  if not key then return push(P, queue, id, front, s.now) end
  local job = job_key(P, id)
  call('HSET', job, 'status', 'rate_limited', 'origin', queue)
  call('HSETNX', job, 'timeout', DEFAULT_TIMEOUT)
  if front == '1' then call('HSET', job, 'enqueue_at_front', 1) end
  expire_waiting(P, id)
  write_own('SADD', limits_key(P), key)
  write_own('HSET', limit_key(P, key), 'concurrency', concurrency)
  write_own('ZADD', limit_waiting_key(P, key), s.now_seconds, id)
  admit(s, key)
end

-- The job needs its slot no more: the next ones are let through.
local function free_slot(s, key, id)
  remove('ZREM', limit_slots_key(s.prefix, key), id)
  admit(s, key)
end
