-- Puts dependents on their queue that are ready and were left so.
-- ARGV: request (JSON). Returns how many are left to the next step.

local s = cjson.decode(ARGV[1])
local ready = registry_key(s.prefix, 'ready', s.queue)
if type_of(ready) ~= 'zset' or not fits(queue_key(s.prefix, s.queue), 'list') then return 0 end
enqueue_ready(s, s.queue)
return call('ZCARD', ready)
