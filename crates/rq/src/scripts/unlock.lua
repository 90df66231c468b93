-- A scheduler ends: the locks it still holds and its record go.
-- KEYS: locks. ARGV: prefix, name.

for _, lock in ipairs(KEYS) do
  if type_of(lock) == 'string' and call('GET', lock) == ARGV[2] then call('DEL', lock) end
end
call('DEL', scheduler_key(ARGV[1], ARGV[2]))
return 1
