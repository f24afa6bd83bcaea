-- End a generation with an error from outside its worker: it waited too long, or cannot be served.
-- ARGV: generation id, the status it must be in ('waiting' or 'any'), frame
-- A worker that still holds it is fenced off by a higher attempt. Returns 1 where this call ended it.
local gid, expected, frame = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HMGET', key(gid, 'state'), 'status', 'variant', 'worker', 'seq')
if not state[1] or state[1] == 'ended' then return 0 end
if expected == 'waiting' and state[1] ~= 'waiting' then return 0 end
leave_order(gid)
local attempt = redis.call('HINCRBY', key(gid, 'state'), 'attempt', 1)
local out = {}
append(out, gid, attempt, 'failed', state[4], '[]', frame)
finish(gid, state[3])
deliver(out, now_ms())
return 1
