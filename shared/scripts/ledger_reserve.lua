-- Reserve memory of a host for a variant that a worker wants to load. What dead workers held counts no more.
-- ARGV: host id, worker id, variant, bytes needed, bytes that the host may give
-- Returns how many bytes are missing: 0 where it was reserved.
local host, worker, variant, needed, budget = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local ledger, own = POOL .. 'ledger:' .. host, ARGV[2] .. '|' .. ARGV[3]
local fields = redis.call('HGETALL', ledger)
local held = 0
for i = 1, #fields, 2 do
  local holder = string.match(fields[i], '^(.-)|')
  if holder ~= worker and not redis.call('ZSCORE', POOL .. 'workers', holder) then
    redis.call('HDEL', ledger, fields[i])
  elseif fields[i] ~= own then
    held = held + tonumber(fields[i + 1])
  end
end
if held + needed > budget then return held + needed - budget end
redis.call('HSET', ledger, own, needed)
return 0
