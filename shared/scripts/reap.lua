-- Take a worker out of the registry and put its generations back into the waiting sets under a new attempt.
-- ARGV: worker id, silence in ms after which it counts as lost (0 where it leaves by itself), most attempts
-- Returns {'alive'} | {'reaped', {requeued generation ids}, {ids that had their last attempt}}
local worker, silence, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local seen = redis.call('ZSCORE', POOL .. 'workers', worker)
if seen and now_ms() - tonumber(seen) < silence then return {'alive', {}, {}} end
redis.call('ZREM', POOL .. 'workers', worker)
redis.call('HDEL', POOL .. 'worker_info', worker)
for _, field in ipairs(redis.call('HKEYS', POOL .. 'slots')) do
  if string.sub(field, 1, #worker + 1) == worker .. '|' then redis.call('HDEL', POOL .. 'slots', field) end
end
local requeued, spent = {}, {}
for _, gid in ipairs(redis.call('SMEMBERS', POOL .. 'running:' .. worker)) do
  local state = redis.call('HMGET', key(gid, 'state'), 'status', 'attempt', 'worker')
  if state[1] and state[1] ~= 'ended' and state[1] ~= 'waiting' and state[3] == worker then
    if tonumber(state[2]) >= most then
      spent[#spent + 1] = gid
    else
      wait_again(gid, worker, silence == 0 and 'worker_left' or 'worker_lost')
      requeued[#requeued + 1] = gid
    end
  end
end
redis.call('DEL', POOL .. 'worker:' .. worker, POOL .. 'running:' .. worker)
return {'reaped', requeued, spent}
