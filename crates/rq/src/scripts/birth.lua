-- A worker's record and its place in the sets of workers.

local function write_birth(b)
  local worker = worker_key(b.prefix, b.worker)
  local fields = {}
  for name, value in pairs(b.birth) do
    table.insert(fields, name)
    table.insert(fields, value)
  end
  call('HSET', worker, unpack(fields))
  make_fit(workers_key(b.prefix), 'set')
  call('SADD', workers_key(b.prefix), worker)
  for _, queue in ipairs(b.queues) do
    make_fit(queue_workers_key(b.prefix, queue), 'set')
    call('SADD', queue_workers_key(b.prefix, queue), worker)
  end
end
