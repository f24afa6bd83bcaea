-- Append one engine step's entries to the journals of its generations and relay them, in one call.
-- ARGV: worker id, then six per entry: generation id, attempt, kind, seq, token ids (JSON), frame (JSON or empty)
-- Kinds: started, delta, held, resumed, finished, failed; the last two end the generation.
-- Returns {generation id, attempt, …} of those that were refused: another attempt writes now, or the generation has
-- ended or expired. What a later attempt of the same worker wrote behind them is not.
local worker = ARGV[1]
local out, refused, is_refused = {}, {}, {}
local now = now_ms()
for i = 2, #ARGV, 6 do
  local gid, attempt, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local name = gid .. ' ' .. attempt
  if not is_refused[name] then
    local state = redis.call('HMGET', key(gid, 'state'), 'attempt', 'status')
    if state[1] ~= attempt or state[2] == 'ended' or state[2] == 'waiting' then
      is_refused[name] = true
      refused[#refused + 1] = gid
      refused[#refused + 1] = attempt
    else
      append(out, gid, attempt, kind, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
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
