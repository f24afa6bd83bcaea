-- Ask a conversion to stop. One that no worker has begun ends here; a running one is ended by its worker.
-- ARGV: conversion id, event JSON of the end, seconds that an ended job is kept
-- Returns 'not_found' | 'ended' | 'cancelled' | 'asked'
local cid, event, kept = ARGV[1], ARGV[2], ARGV[3]
local job = key(cid, 'job')
local state = redis.call('HGET', job, 'state')
if not state then return 'not_found' end
write_though_full()
if state == '"queued"' then
  redis.call('HSET', job, 'state', '"cancelled"', 'ended_ms', string.format('%.0f', now_ms()))
  redis.call('XADD', key(cid, 'events'), '*', 'e', event)
  redis.call('EXPIRE', job, kept)
  redis.call('EXPIRE', key(cid, 'events'), kept)
  redis.call('SREM', 'ovchat:{conversions}:open', cid)
  return 'cancelled'
end
if state ~= '"running"' then return 'ended' end
-- Until it ends, which takes the wish with it: its converter may be away for days, and would else go on when it is back.
redis.call('SET', key(cid, 'cancel'), '1')
return 'asked'
