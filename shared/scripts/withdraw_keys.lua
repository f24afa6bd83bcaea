-- Revoke one key, or take every key of a user out, but never the last way in. State database.
-- ARGV: 'revoke', key id | 'erase', user
-- Returns 'not_found' | 'last_admin' (nothing was changed) | 'done'
local how, name = unpack(ARGV)
local users = 'ovchat:{users}:'
local all = redis.call('HGETALL', users .. 'keys')
local chosen, loses, remain = {}, false, 0
for i = 1, #all, 2 do
  local record = cjson.decode(all[i + 1])
  local is_admin = record.role == 'admin' and not record.revoked
  if (how == 'revoke' and record.key_id == name) or (how == 'erase' and record.user == name) then
    chosen[#chosen + 1] = {all[i], record}
    loses = loses or is_admin
  elseif is_admin then
    remain = remain + 1
  end
end
if #chosen == 0 then return 'not_found' end
if loses and remain == 0 then return 'last_admin' end
write_though_full()
for _, pair in ipairs(chosen) do
  if how == 'erase' then
    redis.call('HDEL', users .. 'keys', pair[1])
    redis.call('HDEL', users .. 'keys_used', pair[2].key_id)
  else
    pair[2].revoked = true
    redis.call('HSET', users .. 'keys', pair[1], cjson.encode(pair[2]))
  end
end
return 'done'
