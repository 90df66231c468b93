-- A worker ends: its record stays for a minute, as RQ's does.
-- ARGV: request (JSON).

local GRACE = 60

local d = cjson.decode(ARGV[1])
local worker = worker_key(d.prefix, d.worker)
if fits(workers_key(d.prefix), 'set') then call('SREM', workers_key(d.prefix), worker) end
for _, queue in ipairs(d.queues) do
  local workers = queue_workers_key(d.prefix, queue)
  if fits(workers, 'set') then call('SREM', workers, worker) end
end
make_fit(worker, 'hash')
call('HSET', worker, 'death', d.now)
-- Nobody has to find out whether that run is over.
call('HDEL', worker, 'freshq_run')
call('EXPIRE', worker, GRACE)
call('DEL', worker_executions_key(d.prefix, d.worker))
return 1
