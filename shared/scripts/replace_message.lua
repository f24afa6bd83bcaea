-- Write a message anew, unless its chat was deleted meanwhile: a late answer must not bring a piece of it back.
-- State database. ARGV: chat id, message id, message JSON. Returns 1 where it was written.
local messages = key(ARGV[1], 'messages')
if redis.call('HEXISTS', messages, ARGV[2]) == 0 then return 0 end
redis.call('HSET', messages, ARGV[2], ARGV[3])
return 1
