-- Writes a new worker's record, unless an active worker has the name.
-- ARGV: request (JSON). Returns 0 if the name is taken.

local b = cjson.decode(ARGV[1])
local worker = worker_key(b.prefix, b.worker)
if call('EXISTS', worker) == 1 and call('HEXISTS', worker, 'death') == 0 then return 0 end
call('DEL', worker)
write_birth(b)
call('EXPIRE', worker, b.life)
return 1
