-- Mends rate limits: frees slots of jobs that need none, lets the next ones through, and forgets limits
-- that nobody uses.
-- ARGV: request (JSON), then keys of limits. Returns how many jobs were let through.

-- Slots of a limit that are looked at in one step.
local CHECKED_MAX = 1000

-- Queued and running jobs need their slot, also those that were canceled or deleted while they run.
local function needs_slot(s, id)
  local status = field(job_key(s.prefix, id), 'status')
  if status == 'queued' or status == 'started' then return true end
  local executions = executions_key(s.prefix, id)
  return type_of(executions) == 'zset' and 0 < call('ZCOUNT', executions, '(' .. s.now_seconds, '+inf')
end

local function mend(s, key)
  local slots, waiting = limit_slots_key(s.prefix, key), limit_waiting_key(s.prefix, key)
  make_fit(slots, 'zset')
  for _, id in ipairs(call('ZRANGE', slots, 0, CHECKED_MAX - 1)) do
    if not needs_slot(s, id) then call('ZREM', slots, id) end
  end
  local admitted = admit(s, key)
  if call('ZCARD', slots) == 0 and call('ZCARD', waiting) == 0 then
    call('SREM', limits_key(s.prefix), key)
    call('DEL', limit_key(s.prefix, key))
  end
  return admitted
end

local s, admitted = cjson.decode(ARGV[1]), 0
if not fits(limits_key(s.prefix), 'set') then return 0 end
for i = 2, #ARGV do admitted = admitted + mend(s, ARGV[i]) end
return admitted
