-- Subscribe a gateway to a generation and read what is journaled so far, atomically: no frame falls between.
-- ARGV: generation id, gateway id, n after which to read
-- Returns {} where the generation is unknown or expired, else {user, status, chat id, {entry, …}}
local gid, gateway, after = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HMGET', key(gid, 'state'), 'user', 'status', 'chat_id')
if not state[1] then return {} end
if state[2] ~= 'ended' then
  write_though_full()
  redis.call('SADD', key(gid, 'watchers'), gateway)
end
local first = '(' .. after .. '-18446744073709551615'
return {state[1], state[2], state[3], redis.call('XRANGE', key(gid, 'journal'), first, '+')}
