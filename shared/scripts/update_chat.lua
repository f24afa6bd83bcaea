-- Change fields of a user's chat. State database.
-- ARGV: chat id, user, JSON object of the fields (null takes one away)
-- A leaf must be an answer of the chat. Returns 'ok' | 'not_found' | 'no_message' | 'not_answer'
local cid, user, changes = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local chat = key(cid, 'chat')
if redis.call('HGET', chat, 'user') ~= user then return 'not_found' end
if changes.leaf then
  local node = redis.call('HGET', key(cid, 'messages'), changes.leaf)
  if not node then return 'no_message' end
  if cjson.decode(node).role ~= 'assistant' then return 'not_answer' end
end
for field, value in pairs(changes) do
  if value == cjson.null then redis.call('HDEL', chat, field) else redis.call('HSET', chat, field, value) end
end
return 'ok'
