-- Register a worker, or say that it still lives.
-- ARGV: worker id, WorkerInfo JSON, 1 at registration
-- Returns {0} where the worker was declared lost meanwhile: it must stop what it does and register under a new id.
-- Else {1, {variants that no worker ends by itself}}
local worker, info, first = ARGV[1], ARGV[2], ARGV[3]
if first ~= '1' and not redis.call('ZSCORE', POOL .. 'workers', worker) then return {0, {}} end
redis.call('ZADD', POOL .. 'workers', now_ms(), worker)
redis.call('HSET', POOL .. 'worker_info', worker, info)
return {1, redis.call('SMEMBERS', POOL .. 'pinned')}
