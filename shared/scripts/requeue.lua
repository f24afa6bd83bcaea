-- A worker gives a generation back (its replica died, or it drains): wait again under a new attempt.
-- ARGV: worker id, generation id, the attempt it had, most attempts in a row without a token, why (waiting_queue.MoveCause)
-- Returns the new attempt; 0 where another attempt has it or it has ended; -1 where it had its last attempt.
local worker, gid, attempt, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local state = redis.call('HMGET', key(gid, 'state'), 'attempt', 'status')
if state[1] ~= attempt or state[2] == 'ended' or state[2] == 'waiting' then return 0 end
if not wait_again(gid, worker, ARGV[5], most) then return -1 end
return tonumber(attempt) + 1
