-- Cancel a generation: one that waits ends here, one that a worker has is ended by the worker.
-- ARGV: generation id, user, frame of the end without its timings and closing brace
-- Returns 'not_found' | 'ended' (before) | 'cancelled' (here and now) | 'sent' (the worker will)
local gid, user, frame = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HMGET', key(gid, 'state'), 'status', 'user', 'variant', 'worker', 'queued_ms', 'attempt', 'seq')
if not state[1] or state[2] ~= user then return 'not_found' end
if state[1] == 'ended' then return 'ended' end
if state[1] ~= 'waiting' then
  write_though_full()
  -- A worker that is lost before it reads this takes the wish with it, so the next one is told as well.
  redis.call('HSET', key(gid, 'state'), 'cancel', 1)
  redis.call('XADD', POOL .. 'worker:' .. state[4], '*', 'c', cjson.encode({kind = 'cancel', generation_id = gid}))
  return 'sent'
end
leave_order(gid)
local now = now_ms()
local waited = now - tonumber(state[5])
local out = {}
append(out, gid, state[6], 'finished', state[7], '[]', frame ..
  ',"seq":' .. state[7] ..
  ',"timings":{"queue_ms":' .. waited .. ',"first_token_ms":null,"total_ms":' .. waited .. '}}')
finish(gid, nil)
deliver(out, now)
return 'cancelled'
