-- Drops entries of a registry whose time is over.
-- ARGV: prefix, registry, queue, now, limit. Returns how many went; as many as `limit` may have left more.

local key = registry_key(ARGV[1], ARGV[2], ARGV[3])
if type_of(key) ~= 'zset' then return 0 end
local over = call('ZRANGEBYSCORE', key, 0, ARGV[4], 'LIMIT', 0, ARGV[5])
for _, member in ipairs(over) do call('ZREM', key, member) end
return #over
