-- A worker ends: its record stays for a minute, as RQ's does.
-- ARGV: request (JSON).

local d = cjson.decode(ARGV[1])
local worker = worker_key(d.prefix, d.worker)
call('SREM', d.prefix .. ':workers', worker)
for _, queue in ipairs(d.queues) do call('SREM', d.prefix .. ':workers:' .. queue, worker) end
call('HSET', worker, 'death', d.now)
call('EXPIRE', worker, 60)
call('DEL', worker_executions_key(d.prefix, d.worker))
return 1
