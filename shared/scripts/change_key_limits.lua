-- Change some limits of one key. State database.
-- ARGV: key id, JSON object of the limits that change
-- Returns 'not_found' | 'revoked' (nothing was changed) | the record's new JSON
local name, changes = ARGV[1], cjson.decode(ARGV[2])
local all = redis.call('HGETALL', 'ovchat:{users}:keys')
for i = 1, #all, 2 do
  local record = cjson.decode(all[i + 1])
  if record.key_id == name then
    if record.revoked then return 'revoked' end
    for limit, value in pairs(changes) do record.limits[limit] = value end
    local changed = cjson.encode(record)
    redis.call('HSET', 'ovchat:{users}:keys', all[i], changed)
    return changed
  end
end
return 'not_found'
