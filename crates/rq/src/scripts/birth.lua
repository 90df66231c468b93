-- A worker's record and its place in the sets of workers.

local function write_birth(b)
  local worker = worker_key(b.prefix, b.worker)
  local fields = {'HSET', worker}
  for field, value in pairs(b.birth) do
    table.insert(fields, field)
    table.insert(fields, value)
  end
  call(unpack(fields))
  call('SADD', b.prefix .. ':workers', worker)
  for _, queue in ipairs(b.queues) do
    call('SADD', b.prefix .. ':workers:' .. queue, worker)
  end
end
