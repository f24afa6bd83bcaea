-- Add to what a user used on a day, once for each id. State database.
-- ARGV: id of what is counted, user, UTC day (2026-01-31), number of that day since 1970, then fields and amounts…
-- Returns 1 where it was counted here, 0 where it had been.
local id, user, day, number = unpack(ARGV, 1, 4)
-- An ended generation's request is kept for less than this, and nothing is counted without it.
if not redis.call('SET', key(id, 'counted'), '1', 'NX', 'EX', 2 * GENERATION_TTL_SECONDS) then return 0 end
for i = 5, #ARGV, 2 do
  redis.call('HINCRBY', 'ovchat:{usage}:day:' .. user .. ':' .. day, ARGV[i], ARGV[i + 1])
end
redis.call('ZADD', 'ovchat:{usage}:days:' .. user, number, day)
redis.call('SADD', 'ovchat:{usage}:users', user)
return 1
