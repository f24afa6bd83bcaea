-- Admit one user's generations within his limits and keep their places for a moment, or say what is in the way: all of
-- them or none. Idempotent by generation id: what is admitted or queued already costs nothing again; what is admitted
-- and not queued yet reserves the tokens that are named now.
-- ARGV: user, most in hand, most requests in 60 s (0 = unlimited each), '1' where the day's tokens are limited, then
--   per generation of one request its id and the tokens to reserve…
-- Returns {'ok', tokens that his other generations hold reserved} | {'known', 0} where every one was admitted before
--   | {'in_hand', how many are} | {'minute', ms until the next may begin}
local user, most_in_hand, most_in_minute = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local theirs, minute, reserved = POOL .. 'in_hand:' .. user, POOL .. 'minute:' .. user, POOL .. 'reserved:' .. user
local held, new, tokens = in_hand(user, now), {}, {}
for i = 5, #ARGV, 2 do
  if redis.call('EXISTS', key(ARGV[i], 'state')) == 0 then
    tokens[ARGV[i]] = ARGV[i + 1]
    if not redis.call('ZSCORE', theirs, ARGV[i]) then new[#new + 1] = ARGV[i] end
  end
end
if most_in_hand > 0 and #new > 0 and held + #new > most_in_hand then return {'in_hand', held} end
redis.call('ZREMRANGEBYSCORE', minute, '-inf', now - MINUTE_MS)
local begun = redis.call('ZCARD', minute)
if most_in_minute > 0 and #new > 0 and begun >= most_in_minute then
  local blocking = redis.call('ZRANGE', minute, begun - most_in_minute, begun - most_in_minute, 'WITHSCORES')
  return {'minute', math.max(1, tonumber(blocking[2]) + MINUTE_MS - now)}
end
local by_others = 0
if ARGV[4] == '1' and #new > 0 then
  local entries = redis.call('HGETALL', reserved)
  for i = 1, #entries, 2 do
    local amount, until_ms = string.match(entries[i + 1], '^(%d+):(%d+)$')
    if tonumber(until_ms) <= now then
      redis.call('HDEL', reserved, entries[i])
    elseif not tokens[entries[i]] then
      by_others = by_others + tonumber(amount)
    end
  end
end
for gid, amount in pairs(tokens) do redis.call('HSET', reserved, gid, reservation(amount, now + ADMITTED_MS)) end
redis.call('EXPIRE', reserved, GENERATION_TTL_SECONDS)
if #new == 0 then return {'known', 0} end
redis.call('ZADD', minute, now, new[1])
redis.call('PEXPIRE', minute, MINUTE_MS)
for _, gid in ipairs(new) do redis.call('ZADD', theirs, now + ADMITTED_MS, gid) end
redis.call('EXPIRE', theirs, GENERATION_TTL_SECONDS)
return {'ok', by_others}
