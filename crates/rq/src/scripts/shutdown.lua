-- Notes in a worker's record that it was asked to stop. A record that has vanished stays so.
-- ARGV: prefix, worker, time.

local worker = worker_key(ARGV[1], ARGV[2])
if field(worker, 'birth') then call('HSET', worker, 'shutdown_requested_date', ARGV[3]) end
return 1
