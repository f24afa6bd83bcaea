-- Subscribe a gateway to a generation and read what is journaled so far, atomically: no frame falls between.
-- ARGV: generation id, gateway id, n after which to read
-- Returns nil where the generation is unknown or expired, else {entry, …}
local gid, gateway, after = ARGV[1], ARGV[2], ARGV[3]
local status = redis.call('HGET', key(gid, 'state'), 'status')
if not status then return nil end
if status ~= 'ended' then
  write_though_full()
  redis.call('SADD', key(gid, 'watchers'), gateway)
end
local first = '(' .. after .. '-18446744073709551615'
return redis.call('XRANGE', key(gid, 'journal'), first, '+')
