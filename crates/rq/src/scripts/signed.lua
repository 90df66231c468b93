-- Finds what runs of supervisors have put their names to: workers, maintenance locks, scheduler locks.
-- ARGV: request (JSON), keys of workers. Returns for each: what it is, its name, the run, and of a scheduler
-- the queue whose lock it holds.

local s = cjson.decode(ARGV[1])
local found = {}

local function note(kind, name, run, queue)
  if run and run ~= '' then table.insert(found, {kind, name, run, queue or ''}) end
end

local function text(key) return type_of(key) == 'string' and call('GET', key) or nil end

for i = 2, #ARGV do
  local record = fields(ARGV[i], {'freshq_run', 'death'})
  if not record.death then note('worker', ARGV[i], record.freshq_run) end
end
for _, queue in ipairs(s.queues) do
  note('maintenance', queue, text(registries_lock_key(s.prefix, queue)))
  local scheduler = text(scheduler_lock_key(s.prefix, queue))
  if scheduler then
    note('scheduler', scheduler, field(scheduler_key(s.prefix, scheduler), 'freshq_run'), queue)
  end
end
return found
