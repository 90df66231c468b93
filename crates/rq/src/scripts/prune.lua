-- Takes names out of sets that stand for a key that has gone.
-- KEYS: the sets. ARGV: what the keys begin with, then names.

for i = 2, #ARGV do
  if call('EXISTS', ARGV[1] .. ARGV[i]) == 0 then
    for _, set in ipairs(KEYS) do
      if fits(set, 'set') then call('SREM', set, ARGV[i]) end
    end
  end
end
return 1
