-- Renews the time of the start of a job, and which code runs it, unless it was deleted or canceled
-- meanwhile.
-- ARGV: request (JSON), job id.

local b = cjson.decode(ARGV[1])
local job = job_key(b.prefix, ARGV[2])
if field(job, 'status') == 'started' then
  call('HSET', job, 'started_at', b.now, 'generation', b.generation, 'code_hash', b.code_hash)
end
return 1
