-- Add a turn to a chat's message tree: the user's message (where given) and the answer that is about to run.
-- Idempotent by the answer's id. State database.
-- ARGV: chat id, user, answer id, parent message id ('' = the chat's leaf, 'root' = the tree's beginning),
--       user message id, user message JSON ('' where the question is there already), answer JSON,
--       title, system prompt ('' = unchanged), model, time in ms, '1' where the chat may be made,
--       parameters JSON that a chat without messages and parameters keeps ('' = none)
-- The parent is written into the JSON in place of the text "@PARENT".
-- Returns {'ok', parent} | {'exists'} | {'not_found'} | {'not_answer'} | {'busy', id of the running answer}
local cid, user, answer, parent, question, question_json, answer_json, title, system, model, now, create, params =
  unpack(ARGV)
local chat, messages = key(cid, 'chat'), key(cid, 'messages')
if redis.call('HEXISTS', messages, answer) == 1 then return {'exists'} end
local owner = redis.call('HGET', chat, 'user')
if not owner then
  if create ~= '1' then return {'not_found'} end
elseif owner ~= user then
  return {'not_found'}
end
if parent == '' then parent = redis.call('HGET', chat, 'leaf') or '' end
if parent == 'root' then parent = '' end
if parent ~= '' then
  local raw = redis.call('HGET', messages, parent)
  if not raw then return {'not_found'} end
  local node = cjson.decode(raw)
  if node.status == 'running' then return {'busy', parent} end
  if question_json ~= '' and node.role ~= 'assistant' then return {'not_answer'} end
end
if not owner then
  redis.call('HSET', chat, 'user', user, 'title', title, 'created_ms', now)
elseif redis.call('HGET', chat, 'title') == '' then
  redis.call('HSET', chat, 'title', title)
end
if params ~= '' and redis.call('EXISTS', messages) == 0 then redis.call('HSETNX', chat, 'params', params) end
local function placed(json, under)
  local value = under == '' and 'null' or ('"' .. under .. '"')
  local from, to = string.find(json, '"@PARENT"', 1, true)
  return string.sub(json, 1, from - 1) .. value .. string.sub(json, to + 1)
end
if question_json ~= '' then
  redis.call('HSET', messages, question, placed(question_json, parent))
  redis.call('HSET', messages, answer, placed(answer_json, question))
else
  redis.call('HSET', messages, answer, placed(answer_json, parent))
end
redis.call('HSET', chat, 'leaf', answer, 'updated_ms', now, 'model', model)
if system ~= '' then redis.call('HSET', chat, 'system', system) end
redis.call('ZADD', CHATS .. user, now, cid)
return {'ok', parent}
