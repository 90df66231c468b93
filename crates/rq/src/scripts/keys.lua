-- The keys that scripts make themselves, because ids are known only here. `src/keys.rs` has the others.

local function job_key(P, id) return P .. ':job:' .. id end
local function dependents_key(P, id) return P .. ':job:' .. id .. ':dependents' end
local function dependencies_key(P, id) return P .. ':job::' .. id .. ':dependencies' end
local function results_key(P, id) return P .. ':results:' .. id end
local function execution_key(P, id, execution) return P .. ':execution:' .. id .. ':' .. execution end
local function executions_key(P, id) return P .. ':executions:' .. id end
local function queue_key(P, queue) return P .. ':queue:' .. queue end
local function intermediate_key(P, queue) return queue_key(P, queue) .. ':intermediate' end
local function first_seen_key(P, queue, id) return intermediate_key(P, queue) .. ':first_seen:' .. id end
local function queues_key(P) return P .. ':queues' end
local function group_key(P, group) return P .. ':group:' .. group end
local function worker_key(P, worker) return P .. ':worker:' .. worker end
local function worker_executions_key(P, worker) return P .. ':worker:' .. worker .. ':executions' end
local function workers_key(P) return P .. ':workers' end
local function queue_workers_key(P, queue) return P .. ':workers:' .. queue end
local function scheduler_key(P, scheduler) return P .. ':scheduler:' .. scheduler end
local function registries_lock_key(P, queue) return P .. ':clean_registries:' .. queue end
local function scheduler_lock_key(P, queue) return P .. ':scheduler-lock:' .. queue end
local function suspended_key(P) return P .. ':suspended' end
local function registry_key(P, registry, queue) return P .. ':' .. registry .. ':' .. queue end
local function limits_key(P) return P .. ':rl-keys' end
local function limit_key(P, key) return P .. ':rl:' .. key end
local function limit_slots_key(P, key) return P .. ':rl:' .. key .. ':allowed' end
local function limit_waiting_key(P, key) return P .. ':rl:' .. key .. ':rate_limited' end
