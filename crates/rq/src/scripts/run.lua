-- Entry: the end of one execution, the start of another, or both in one run.
-- ARGV: start request (JSON or ''), finish request (JSON or ''), value, traceback,
-- meta, id of the job that ends. Bytes that may be no UTF-8 stay out of the JSON.

local ended, started = false, false
if ARGV[2] ~= '' then
  local request = cjson.decode(ARGV[2])
  request.job = ARGV[6]
  ended = finish(request, ARGV[3], ARGV[4], ARGV[5])
  if ended['err'] then return ended end
end
if ARGV[1] ~= '' then started = start(cjson.decode(ARGV[1])) end
return {ended, started}
