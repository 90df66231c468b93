-- Takes a lock from a run that is over, unless somebody else has it by now.
-- KEYS: lock. ARGV: run.

if type_of(KEYS[1]) == 'string' and call('GET', KEYS[1]) == ARGV[1] then call('DEL', KEYS[1]) end
return 1
