-- Begin a session, and end the oldest ones of a user who has too many. State database.
-- ARGV: the session's key, the key of the user's list of them, digest of the API key, time in ms, seconds that a session
--   lasts, most that a user may have
local session, theirs, digest, now, seconds, most = unpack(ARGV)
write_though_full()
redis.call('SET', session, digest, 'EX', seconds)
redis.call('ZREMRANGEBYSCORE', theirs, '-inf', now)
redis.call('ZADD', theirs, exact(now + seconds * 1000), session)
redis.call('EXPIRE', theirs, seconds)
for _, oldest in ipairs(redis.call('ZRANGE', theirs, 0, -most - 1)) do
  redis.call('DEL', oldest)
  redis.call('ZREM', theirs, oldest)
end
return 1
