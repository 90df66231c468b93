-- Writes a new worker's record, unless an active worker has the name.
-- ARGV: request (JSON). Returns 0 if the name is taken.

local b = cjson.decode(ARGV[1])
local worker = worker_key(b.prefix, b.worker)
if type_of(worker) == 'hash' and call('HEXISTS', worker, 'death') == 0 then
  -- The same request again, because its answer was lost, is no other worker.
  local active = call('HMGET', worker, 'birth', 'pid', 'hostname')
  if active[1] ~= b.birth.birth or active[2] ~= b.birth.pid or active[3] ~= b.birth.hostname then
    return 0
  end
end
call('DEL', worker)
write_birth(b)
call('EXPIRE', worker, b.life)
return 1
