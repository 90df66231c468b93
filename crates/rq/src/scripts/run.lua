-- Entry: the end of one execution, the start of another, or both in one run.
-- ARGV: start request (JSON or ''), finish request (JSON or ''), id of the job that ends, value, traceback,
-- meta, value for the job's hash. Bytes that may be no UTF-8 stay out of the JSON.

local ended, started, finished = false, false, {}
if ARGV[2] ~= '' then
  finished = cjson.decode(ARGV[2])
  finished.job, finished.value, finished.trace = ARGV[3], ARGV[4], ARGV[5]
  finished.meta, finished.result = ARGV[6], ARGV[7]
  ended = finish(finished)
  if ended['err'] then return ended end
end
-- An end that is recorded now has not been asked for before, nor has the start that came with it.
local is_new = ended and ended[1] ~= 'already'
if ARGV[1] ~= '' then started = start(cjson.decode(ARGV[1]), is_new) end
if finished.is_noted and not (started and started[1] == 'job') then lie_idle(finished) end
return {ended, started}
