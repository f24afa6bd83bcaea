-- Admit one user's generations within his limits and keep their places for a moment, or say what is in the way: all of
-- them or none. Idempotent by generation id: what is admitted or queued already costs nothing again.
-- ARGV: user, most in hand, most requests in 60 s (0 = unlimited each), generation ids of one request…
-- Returns {'ok', 0} | {'in_hand', how many are} | {'minute', ms until the next may begin}
local user, most_in_hand, most_in_minute = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local theirs, minute = POOL .. 'in_hand:' .. user, POOL .. 'minute:' .. user
local held, new = in_hand(user, now), {}
for i = 4, #ARGV do
  if redis.call('EXISTS', key(ARGV[i], 'state')) == 0 and not redis.call('ZSCORE', theirs, ARGV[i]) then
    new[#new + 1] = ARGV[i]
  end
end
if #new == 0 then return {'ok', 0} end
if most_in_hand > 0 and held + #new > most_in_hand then return {'in_hand', held} end
redis.call('ZREMRANGEBYSCORE', minute, '-inf', now - MINUTE_MS)
local begun = redis.call('ZCARD', minute)
if most_in_minute > 0 and begun >= most_in_minute then
  local blocking = redis.call('ZRANGE', minute, begun - most_in_minute, begun - most_in_minute, 'WITHSCORES')
  return {'minute', math.max(1, tonumber(blocking[2]) + MINUTE_MS - now)}
end
redis.call('ZADD', minute, now, new[1])
redis.call('PEXPIRE', minute, MINUTE_MS)
for _, gid in ipairs(new) do redis.call('ZADD', theirs, now + ADMITTED_MS, gid) end
redis.call('EXPIRE', theirs, GENERATION_TTL_SECONDS)
return {'ok', 0}
