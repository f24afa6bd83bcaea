-- Take a user's chat away with all its messages. State database.
-- ARGV: chat id, user
-- Returns {'not_found'} or {'ok', the ids of the answers that still ran, …}
local cid, user = ARGV[1], ARGV[2]
local chat, messages = key(cid, 'chat'), key(cid, 'messages')
redis.call('ZREM', CHATS .. user, cid)
if redis.call('HGET', chat, 'user') ~= user then return {'not_found'} end
local outcome = {'ok'}
local all = redis.call('HGETALL', messages)
for i = 1, #all, 2 do
  if cjson.decode(all[i + 1]).status == 'running' then outcome[#outcome + 1] = all[i] end
end
redis.call('DEL', chat, messages)
return outcome
