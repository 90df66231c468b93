-- Takes or refreshes a scheduler's locks, and keeps its record for as long as it holds any.
-- KEYS: the lock of each queue in the request. ARGV: request (JSON).
-- Returns for each queue: 2 if the lock was held before, 1 if it is new, 0 if somebody else has it; and
-- the time when its next job is due, '' if there is none.

local function take_lock(s, lock)
  -- A key of another type is somebody's mistake, and no lock of ours.
  if not fits(lock, 'string') then return 0 end
  local holder = call('GET', lock)
  if holder and holder ~= s.name then return 0 end
  call('SET', lock, s.name, 'EX', s.life)
  return holder and 2 or 1
end

local function next_due(s, queue)
  local scheduled = registry_key(s.prefix, 'scheduled', queue)
  if type_of(scheduled) ~= 'zset' then return '' end
  return call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2] or ''
end

local s = cjson.decode(ARGV[1])
local record = scheduler_key(s.prefix, s.name)
local answers, held = {}, false
for i, queue in ipairs(s.queues) do
  local lock = take_lock(s, KEYS[i])
  held = held or lock ~= 0
  table.insert(answers, {lock, next_due(s, queue)})
end
make_fit(record, 'hash')
if held then
  for name, value in pairs(s.record) do call('HSET', record, name, value) end
  call('EXPIRE', record, s.life)
else
  call('DEL', record)
end
return answers
