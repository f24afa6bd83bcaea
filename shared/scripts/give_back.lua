-- Give the places of admitted generations back that are not queued after all.
-- ARGV: user, generation ids…
local user = ARGV[1]
for i = 2, #ARGV do
  if redis.call('EXISTS', key(ARGV[i], 'state')) == 0 then
    redis.call('ZREM', POOL .. 'in_hand:' .. user, ARGV[i])
    redis.call('ZREM', POOL .. 'minute:' .. user, ARGV[i])
    redis.call('HDEL', POOL .. 'reserved:' .. user, ARGV[i])
  end
end
return 1
