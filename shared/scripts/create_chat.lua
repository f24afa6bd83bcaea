-- Make a chat without messages. State database.
-- ARGV: chat id, user, time in ms, then its other fields and their values
local cid, user, now = ARGV[1], ARGV[2], ARGV[3]
redis.call('HSET', key(cid, 'chat'), 'user', user, 'created_ms', now, 'updated_ms', now, unpack(ARGV, 4))
redis.call('ZADD', CHATS .. user, now, cid)
return 1
