-- Append one engine step's entries to the journals of its generations and relay them, in one call.
-- ARGV: worker id, then six per entry: generation id, attempt, kind, seq, token ids (JSON), frame (JSON or empty)
-- Kinds: started, delta, held, resumed, finished, failed; the last two end the generation.
-- Returns the generation ids that were refused: another attempt writes now, or the generation has ended or expired.
local worker = ARGV[1]
local out, refused, refused_ids = {}, {}, {}
local now = now_ms()
for i = 2, #ARGV, 6 do
  local gid, attempt, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if not refused_ids[gid] then
    local state = redis.call('HMGET', key(gid, 'state'), 'attempt', 'status')
    if state[1] ~= attempt or state[2] == 'ended' or state[2] == 'waiting' then
      refused_ids[gid] = true
      refused[#refused + 1] = gid
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
