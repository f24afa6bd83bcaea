-- Functions that every script has in front of it. The state hash of a generation (keys.generation_state):
--   status   waiting | assigned | running | ended
--   attempt  fencing number: a writer with an older one is refused
--   seq      number of the last delta;  n, k  id of the last journal entry (n frames, k silent entries after it)
--   user, chat_id, variant, worker, queued_ms

local POOL = 'ovchat:{pool}:'
local GATEWAY_LOST_MS = 30000
local GENERATION_TTL_SECONDS = 172800
local FINISHED_MAX = 100000
local INBOX_MAX = 100000

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Now in ms with three decimals, as text: a number would lose its last digits, and with them the order of arrival.
local function arrival_ms()
  local t = redis.call('TIME')
  return string.format('%d.%03d', t[1] * 1000 + math.floor(t[2] / 1000), t[2] % 1000)
end

local function key(gid, part)
  return 'ovchat:{' .. gid .. '}:' .. part
end

-- Send the collected frames: one packed entry per gateway. A gateway that has gone silent is forgotten.
local function deliver(out, now)
  for gateway, packed in pairs(out) do
    local seen = redis.call('ZSCORE', POOL .. 'gateways', gateway)
    if seen and now - tonumber(seen) < GATEWAY_LOST_MS then
      local inbox = POOL .. 'inbox:' .. gateway
      for first = 1, #packed, 2000 do
        redis.call('XADD', inbox, 'MAXLEN', '~', INBOX_MAX, '*', unpack(packed, first, math.min(first + 1999, #packed)))
      end
    else
      redis.call('ZREM', POOL .. 'gateways', gateway)
      redis.call('DEL', POOL .. 'inbox:' .. gateway)
    end
  end
end

-- Append one entry to a generation's journal and collect its frame for the gateways that watch.
-- An empty frame is a silent entry: token ids whose text is still held back.
local function append(out, gid, attempt, kind, seq, tokens, frame)
  local state = key(gid, 'state')
  local counters = redis.call('HMGET', state, 'n', 'k')
  local n, k = tonumber(counters[1] or 0), tonumber(counters[2] or 0)
  if frame == '' then k = k + 1 else n, k = n + 1, 0 end
  redis.call('XADD', key(gid, 'journal'), n .. '-' .. k, 'a', attempt, 'k', kind, 's', seq, 't', tokens, 'f', frame)
  redis.call('HSET', state, 'n', n, 'k', k, 'seq', seq)
  if n + k == 1 then redis.call('EXPIRE', key(gid, 'journal'), GENERATION_TTL_SECONDS) end
  if frame ~= '' then
    for _, gateway in ipairs(redis.call('SMEMBERS', key(gid, 'watchers'))) do
      local packed = out[gateway]
      if not packed then packed = {}; out[gateway] = packed end
      packed[#packed + 1] = gid .. ':' .. n
      packed[#packed + 1] = frame
    end
  end
end

-- The one end of a generation: marks it ended and tells the finalizers.
local function finish(gid, worker)
  redis.call('HSET', key(gid, 'state'), 'status', 'ended')
  if worker and worker ~= '' then redis.call('SREM', POOL .. 'running:' .. worker, gid) end
  redis.call('XADD', POOL .. 'finished', 'MAXLEN', '~', FINISHED_MAX, '*', 'g', gid)
end

-- Put a generation back into the place where it waits, under a new attempt. It keeps its place in the order.
local function wait_again(gid, worker)
  local state = key(gid, 'state')
  local fields = redis.call('HMGET', state, 'variant', 'queued_ms')
  redis.call('HINCRBY', state, 'attempt', 1)
  redis.call('HSET', state, 'status', 'waiting', 'worker', '')
  redis.call('SREM', POOL .. 'running:' .. worker, gid)
  redis.call('ZADD', POOL .. 'waiting:' .. fields[1], fields[2], gid)
  redis.call('SADD', POOL .. 'waiting_variants', fields[1])
end
