-- Take a worker out of the registry and put its generations back into the waiting sets under a new attempt. One that
-- had its last attempt ends here: nobody would look after it any more.
-- ARGV: worker id, silence in ms after which it counts as lost (0 where it leaves by itself), most attempts in a row
--   without a token, error of those that had their last attempt (JSON)
-- Returns {'alive'} | {'reaped', {requeued generation ids}, {ids that had their last attempt}}
local worker, silence, most, last_error = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local seen = redis.call('ZSCORE', POOL .. 'workers', worker)
if seen and now_ms() - tonumber(seen) < silence then return {'alive', {}, {}} end
redis.call('ZREM', POOL .. 'workers', worker)
redis.call('HDEL', POOL .. 'worker_info', worker)
for _, field in ipairs(redis.call('HKEYS', POOL .. 'slots')) do
  if string.sub(field, 1, #worker + 1) == worker .. '|' then redis.call('HDEL', POOL .. 'slots', field) end
end
local requeued, spent, out = {}, {}, {}
for _, gid in ipairs(redis.call('SMEMBERS', POOL .. 'running:' .. worker)) do
  local state = redis.call('HMGET', key(gid, 'state'), 'status', 'seq', 'worker')
  if state[1] and state[1] ~= 'ended' and state[1] ~= 'waiting' and state[3] == worker then
    if wait_again(gid, worker, silence == 0 and 'worker_left' or 'worker_lost', most) then
      requeued[#requeued + 1] = gid
    else
      spent[#spent + 1] = gid
      local attempt = redis.call('HINCRBY', key(gid, 'state'), 'attempt', 1)
      append(out, gid, attempt, 'failed', state[2], '[]',
        '{"type":"generation.failed","generation_id":"' .. gid .. '","error":' .. last_error .. '}')
      finish(gid, worker)
    end
  end
end
redis.call('DEL', POOL .. 'worker:' .. worker, POOL .. 'running:' .. worker)
deliver(out, now_ms())
return {'reaped', requeued, spent}
