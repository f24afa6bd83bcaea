-- Forget a gateway: the frames that wait for it, and its name among those who store what has ended. One that took
-- something there and did not store it stays a silent one until another has taken that over.
-- ARGV: gateway id, '1' where it says itself that it ends
-- Returns 1 where nothing is left of it
local gateway, is_leaving = ARGV[1], ARGV[2] == '1'
local seen = redis.call('ZSCORE', POOL .. 'gateways', gateway)
if seen and not is_leaving and now_ms() - tonumber(seen) < GATEWAY_LOST_MS then return 0 end
redis.call('DEL', POOL .. 'inbox:' .. gateway)
local taken = redis.pcall('XPENDING', POOL .. 'finished', 'finalizers', '-', '+', 1, gateway)
if #taken > 0 then
  redis.call('ZADD', POOL .. 'gateways', 0, gateway)
  return 0
end
redis.pcall('XGROUP', 'DELCONSUMER', POOL .. 'finished', 'finalizers', gateway)
redis.call('ZREM', POOL .. 'gateways', gateway)
return 1
