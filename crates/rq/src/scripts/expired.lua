-- Lists abandoned executions of a queue, and drops expired entries that nobody has left behind.
-- ARGV: request (JSON). Returns how many entries there were, and of each abandoned one: the entry, the
-- job's id and fields.

local s = cjson.decode(ARGV[1])
local wip = registry_key(s.prefix, 'wip', s.queue)
if type_of(wip) ~= 'zset' then return {0, {}} end
local expired = call('ZRANGEBYSCORE', wip, 0, s.now_seconds, 'LIMIT', s.skip, s.limit)
local abandoned = {}
for _, member in ipairs(expired) do
  local id = left_behind(s, wip, member)
  if id then
    table.insert(abandoned, {member, id, call('HGETALL', job_key(s.prefix, id))})
  else
    call('ZREM', wip, member)
  end
end
return {#expired, abandoned}
