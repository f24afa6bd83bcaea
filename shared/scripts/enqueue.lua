-- Put a generation into its variant's waiting set, watched by the gateway that asks. Idempotent by generation id.
-- ARGV: generation id, request JSON, gateway id, variant, user, chat id, most that may wait,
--       the user's weight
-- Returns {'queued', position} | {'exists', position} | {'overloaded', number waiting}
local gid, request, gateway, variant, user, chat, most, weight = unpack(ARGV)
local waiting = POOL .. 'waiting:' .. variant
local state = key(gid, 'state')
if redis.call('EXISTS', state) == 1 then
  redis.call('SADD', key(gid, 'watchers'), gateway)
  return {'exists', redis.call('ZRANK', waiting, gid) or 0}
end
local count = redis.call('ZCARD', waiting)
if count >= tonumber(most) then return {'overloaded', count} end
local now = arrival_ms()
redis.call('HSET', state, 'status', 'waiting', 'attempt', 1, 'seq', 0, 'n', 0, 'k', 0, 'user', user,
  'chat_id', chat, 'variant', variant, 'worker', '', 'queued_ms', now)
redis.call('EXPIRE', state, GENERATION_TTL_SECONDS)
redis.call('SET', key(gid, 'request'), request, 'EX', GENERATION_TTL_SECONDS)
redis.call('SADD', key(gid, 'watchers'), gateway)
redis.call('EXPIRE', key(gid, 'watchers'), GENERATION_TTL_SECONDS)
local theirs = POOL .. 'in_hand:' .. user
redis.call('ZREM', theirs, gid)
wait_in_order(gid, variant, user, tonumber(weight), in_hand(user, now_ms()), now)
redis.call('ZADD', theirs, now_ms() + GENERATION_TTL_SECONDS * 1000, gid)
redis.call('EXPIRE', theirs, GENERATION_TTL_SECONDS)
local tokens = string.match(redis.call('HGET', POOL .. 'reserved:' .. user, gid) or '', '^%d+')
if tokens then
  redis.call('HSET', POOL .. 'reserved:' .. user, gid, reservation(tokens, now_ms() + GENERATION_TTL_SECONDS * 1000))
end
return {'queued', redis.call('ZRANK', waiting, gid)}
