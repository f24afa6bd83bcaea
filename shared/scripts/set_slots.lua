-- Say how many slots a ready replica has free. A worker that was declared lost gets none: it does not know that yet, and
-- nobody would look after what is assigned to it.
-- ARGV: worker id, variant, free slots
-- Returns 1, or 0 where the worker is not registered.
local worker = ARGV[1]
if not redis.call('ZSCORE', POOL .. 'workers', worker) then return 0 end
redis.call('HSET', POOL .. 'slots', worker .. '|' .. ARGV[2], ARGV[3])
return 1
