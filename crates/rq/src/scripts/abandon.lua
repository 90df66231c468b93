-- Gives up an execution that is still abandoned: its job is retried, or has failed.
-- ARGV: request (JSON), entry of the started registry, what the job has failed with. Returns what became
-- of the job; {'already'} if somebody else was faster, or its worker is alive after all.

local f, member, trace = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local P = f.prefix
local wip = registry_key(P, 'wip', f.queue)
local score = type_of(wip) == 'zset' and tonumber(call('ZSCORE', wip, member))
if not score or f.now_seconds < score then return {'already'} end
local id, execution = left_behind(f, wip, member)
if not id then
  call('ZREM', wip, member)
  return {'already'}
end
f.job, f.worker = id, ''
-- A worker that only fell silent may run it still.
f.lost = f.lost and score == CERTAINLY_OVER
local ended, broken = give_up(f, trace)
if broken then return broken end
if execution then
  call('DEL', execution_key(P, id, execution))
  remove('ZREM', executions_key(P, id), execution)
end
call('ZREM', wip, member)
return ended
