-- Renews the time of the start of a job, unless it was deleted meanwhile.
-- ARGV: prefix, job id, time.

local job = job_key(ARGV[1], ARGV[2])
if call('EXISTS', job) == 1 then call('HSET', job, 'started_at', ARGV[3]) end
return 1
