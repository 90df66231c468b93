-- Executions whose worker no longer says that they run.

-- Whose execution a member of the started registry is: `job:execution`, or, as RQ 1 writes it, the id of
-- the job alone.
local function execution_of(P, member)
  if field(job_key(P, member), 'data') then return member, nil end
  local id, execution = string.match(member, '^([^:]*):(.*)$')
  return id or member, execution
end

-- Whether another attempt at the job is alive.
local function runs_again(s, wip, id, execution)
  local executions = executions_key(s.prefix, id)
  if type_of(executions) ~= 'zset' then return false end
  for _, other in ipairs(call('ZRANGE', executions, 0, -1)) do
    local score = other ~= execution and tonumber(call('ZSCORE', wip, id .. ':' .. other))
    if score and s.now_seconds < score then return true end
  end
  return false
end

-- The job and the execution that a member of the started registry has left behind, or nil. A job that
-- does not count as started was ended or put back after all.
local function left_behind(s, wip, member)
  local P = s.prefix
  local id, execution = execution_of(P, member)
  local job = job_key(P, id)
  if not field(job, 'data') or field(job, 'status') ~= 'started' then return nil end
  if runs_again(s, wip, id, execution) then return nil end
  return id, execution
end
