-- Renews the time of the start of a job, unless it was deleted or canceled meanwhile.
-- ARGV: prefix, job id, time.

local job = job_key(ARGV[1], ARGV[2])
if field(job, 'status') == 'started' then call('HSET', job, 'started_at', ARGV[3]) end
return 1
