-- Takes up the jobs that RQ's workers have popped and not started: they are in a queue's intermediate
-- list and nowhere else.
-- ARGV: request (JSON), what a job has failed with. Returns how many entries there were, how many are
-- left, and of each job that was given up: what became of it, its id and its fields before.

-- How long a job may stand in the list before its worker counts as dead (as RQ).
local STUCK_AFTER = 60
local FIRST_SEEN_LIFE = 86400
-- A job with one of these is not lost: it has ended, or waits in a registry.
local ELSEWHERE = {finished = true, failed = true, stopped = true, canceled = true, deferred = true,
  scheduled = true, rate_limited = true, ready_to_enqueue = true}

local f, trace = cjson.decode(ARGV[1]), ARGV[2]
local P, queue = f.prefix, f.queue
local list = intermediate_key(P, queue)

local function ids_that_run()
  local wip, running = registry_key(P, 'wip', queue), {}
  if type_of(wip) ~= 'zset' then return running end
  for _, member in ipairs(call('ZRANGE', wip, 0, -1)) do
    running[member] = true
    running[string.match(member, '^[^:]*')] = true
  end
  return running
end

-- Whether it has stood here for long; the first look is noted.
local function is_stuck(id)
  local key = first_seen_key(P, queue, id)
  make_fit(key, 'string')
  local seen = tonumber(call('GET', key) or '')
  if seen then return STUCK_AFTER < f.now_seconds - seen end
  call('SET', key, f.now_float, 'EX', FIRST_SEEN_LIFE)
  return false
end

-- Returns false if that cannot be written.
local function give_up_stuck(id)
  f.job = id
  local before = call('HGETALL', job_key(P, id))
  local ended = give_up(f, trace)
  if not ended then return false end
  if field(worker_key(P, f.worker), 'birth') then
    redis.pcall('HINCRBY', worker_key(P, f.worker), 'failed_job_count', 1)
  end
  return {ended, id, before}
end

if type_of(list) ~= 'list' then return {0, 0, {}} end
local ids, running = call('LRANGE', list, f.skip, f.skip + f.limit - 1), ids_that_run()
local left, given_up = 0, {}
for _, id in ipairs(ids) do
  local job = job_key(P, id)
  if running[id] then
    left = left + 1
  elseif not field(job, 'data') or ELSEWHERE[field(job, 'status')] then
    call('LREM', list, 1, id)
  else
    local gave_up = is_stuck(id) and give_up_stuck(id)
    if gave_up then
      table.insert(given_up, gave_up)
      call('LREM', list, 1, id)
      call('DEL', first_seen_key(P, queue, id))
    else
      left = left + 1
    end
  end
end
return {#ids, left, given_up}
