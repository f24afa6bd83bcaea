-- Make the first admin's key known. State database.
-- ARGV: its SHA-256, its record JSON, '1' where the operator names it and it takes the place of the one before
-- Returns 'known' (the same was the first before, revoked or not) | 'registered' | 'other' (another one is the first)
local hash, record, replace = unpack(ARGV)
local users = 'ovchat:{users}:'
local first = redis.call('GET', users .. 'first_key')
if first == hash then return 'known' end
if first and replace ~= '1' then return 'other' end
if first then redis.call('HDEL', users .. 'keys', first) end
redis.call('SET', users .. 'first_key', hash)
redis.call('HSET', users .. 'keys', hash, record)
return 'registered'
