-- Append one engine step's entries to the journals of its generations and relay them, in one call.
-- ARGV: worker id, then seven per entry: generation id, attempt, its number among the attempt's entries, kind, seq,
--   token ids (JSON), frame (JSON or empty)
-- One that is there by its number is passed over: a call whose answer nobody waited for any more may come late, when its
-- entries have been written by another one. Number 0 is written always.
-- Kinds: started, delta, held, resumed, finished, failed; the last two end the generation.
-- Returns {generation id, attempt, …} of those that were refused: another attempt or worker writes now, or the generation
-- has ended or expired. What a later attempt of the same worker wrote behind them is not. A Redis that lost its last
-- moments may have assigned one attempt to two workers, one after the other.
local worker = ARGV[1]
local out, refused, is_refused = {}, {}, {}
local now = now_ms()
for i = 2, #ARGV, 7 do
  local gid, attempt, number, kind = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local written = 'written:' .. attempt
  local name = gid .. ' ' .. attempt
  if not is_refused[name] then
    local state = redis.call('HMGET', key(gid, 'state'), 'attempt', 'status', written, 'worker')
    if state[1] ~= attempt or state[2] == 'ended' or state[2] == 'waiting' or state[4] ~= worker then
      is_refused[name] = true
      refused[#refused + 1] = gid
      refused[#refused + 1] = attempt
    elseif number == 0 or number > tonumber(state[3] or 0) then
      append(out, gid, attempt, kind, ARGV[i + 4], ARGV[i + 5], ARGV[i + 6])
      if number > 0 then redis.call('HSET', key(gid, 'state'), written, number) end
      if kind == 'finished' or kind == 'failed' then
        finish(gid, worker)
      elseif state[2] == 'assigned' then
        redis.call('HSET', key(gid, 'state'), 'status', 'running')
      end
    end
  end
end
deliver(out, now)
return refused
