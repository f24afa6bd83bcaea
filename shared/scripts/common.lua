-- Functions that every script has in front of it. The state hash of a generation (keys.generation_state):
--   status   waiting | assigned | running | ended
--   attempt  fencing number: a writer with an older one is refused
--   written:<attempt>  how many entries its worker has written: a call that comes a second time writes nothing
--   seq      number of the last delta;  n, k  id of the last journal entry (n frames, k silent entries after it)
--   user, chat_id, variant, worker, queued_ms
--   cancel   set where its client asked its worker to end it
--   barren   how many attempts were lost since there was a token
--   moved:<cause>:<new_request|ongoing_request>  how often it came to wait again, before its first frame or after it
--   tag, cost  its place in the fair order, and how far apart its user's places are (1 / weight)

local POOL = 'ovchat:{pool}:'
local CHATS = 'ovchat:{chats}:of:'
local GATEWAY_LOST_MS = 30000
local GENERATION_TTL_SECONDS = 172800
-- An admitted generation is queued within this time, or its gateway died and its place is free again.
local ADMITTED_MS = 15000
local MINUTE_MS = 60000
-- Attempts that a generation may lose in all, however far each of them came.
local MOST_ATTEMPTS = 25
local FINISHED_MAX = 100000
local INBOX_MAX = 100000

-- Scores of what was given back lie this far in front.
local FRONT = 1e14
-- Tags that differ by less count as equal; rounding errors are far smaller.
local TIE = 1e-5
local NOISE = 1e-9
-- Far below it, tags would be too large for their ties to be told apart.
local LEAST_WEIGHT = 1e-3

-- Let this script write on a full Redis, too: it makes room, lets somebody in who will, or ends what has begun. Redis
-- stops a script at its first write that takes memory, but not one that has written before.
local function write_though_full()
  redis.call('DEL', POOL .. 'nothing')
end

local function exact(number)
  return string.format('%.17g', number)
end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Now in ms with three decimals, as text: a number would lose its last digits, and with them the order of arrival.
local function arrival_ms()
  local t = redis.call('TIME')
  return string.format('%d.%03d', t[1] * 1000 + math.floor(t[2] / 1000), t[2] % 1000)
end

-- How many generations of a user wait or run, and those that are admitted and about to be queued. An entry whose time
-- has passed counts no more: its gateway died before it was queued, or its generation expired.
local function in_hand(user, now)
  local set = POOL .. 'in_hand:' .. user
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
  return redis.call('ZCARD', set)
end

-- What a user's hash of reserved tokens has for a generation: how many, and until when they count. The finalizer takes
-- them out once it has counted what was used; the time is for what never came so far.
local function reservation(tokens, until_ms)
  return string.format('%.0f:%.0f', tonumber(tokens), until_ms)
end

local function key(gid, part)
  return 'ovchat:{' .. gid .. '}:' .. part
end

-- Send the collected frames: one packed entry per gateway. One that has gone silent fills its gaps when it comes back.
local function deliver(out, now)
  for gateway, packed in pairs(out) do
    local seen = redis.call('ZSCORE', POOL .. 'gateways', gateway)
    if seen and now - tonumber(seen) < GATEWAY_LOST_MS then
      local inbox = POOL .. 'inbox:' .. gateway
      for first = 1, #packed, 2000 do
        redis.call('XADD', inbox, 'MAXLEN', '~', INBOX_MAX, '*', unpack(packed, first, math.min(first + 1999, #packed)))
      end
    end
  end
end

-- Append one entry to a generation's journal and collect its frame for the gateways that watch.
-- An empty frame is a silent entry: token ids whose text is still held back.
local function append(out, gid, attempt, kind, seq, tokens, frame)
  local state = key(gid, 'state')
  local counters = redis.call('HMGET', state, 'n', 'k', 'barren')
  local n, k = tonumber(counters[1] or 0), tonumber(counters[2] or 0)
  if frame == '' then k = k + 1 else n, k = n + 1, 0 end
  redis.call('XADD', key(gid, 'journal'), n .. '-' .. k, 'a', attempt, 'k', kind, 's', seq, 't', tokens, 'f', frame)
  redis.call('HSET', state, 'n', n, 'k', k, 'seq', seq)
  if tokens ~= '[]' and counters[3] then redis.call('HDEL', state, 'barren') end
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

-- Move the ideal sharing of a variant on by some services. In it every user with claims is served at once, each at
-- its weight's rate; 'v' is how far a user of weight 1 got. Kept in the hash fair:<variant>: v, n (arrivals), and per
-- user f: (the last tag given out) and w: (weight). Who is served up to his last tag has no claims left.
local function advance(variant, services)
  local fair = POOL .. 'fair:' .. variant
  local fields = redis.call('HGETALL', fair)
  local v, total, tags, weights, users = 0, 0, {}, {}, {}
  for i = 1, #fields, 2 do
    local kind, user = string.sub(fields[i], 1, 2), string.sub(fields[i], 3)
    if fields[i] == 'v' then v = tonumber(fields[i + 1])
    elseif kind == 'f:' then tags[user] = tonumber(fields[i + 1]); users[#users + 1] = user
    elseif kind == 'w:' then weights[user] = tonumber(fields[i + 1]); total = total + weights[user] end
  end
  table.sort(users, function(a, b) return tags[a] < tags[b] end)
  for _, user in ipairs(users) do
    local needed = (tags[user] - v) * total
    if needed > services + NOISE then
      v = v + services / total
      break
    end
    services = math.max(0, services - math.max(0, needed))
    v = math.max(v, tags[user])
    total = total - weights[user]
    redis.call('HDEL', fair, 'f:' .. user, 'w:' .. user)
  end
  redis.call('HSET', fair, 'v', exact(v))
end

-- Give a generation its place in its variant's waiting set: its tag is when the ideal sharing would have served it
-- (weighted fair queueing), so that no user gets less than his share but for the one that is being served. Of equal
-- tags, the user's with the least in hand is first, then the one that came first.
local function wait_in_order(gid, variant, user, weight, in_hand, now)
  local waiting, fair = POOL .. 'waiting:' .. variant, POOL .. 'fair:' .. variant
  if redis.call('ZCARD', waiting) == 0 then redis.call('DEL', fair) end
  weight = math.max(LEAST_WEIGHT, weight)
  local known = redis.call('HMGET', fair, 'v', 'f:' .. user)
  local cost = 1 / weight
  local tag = math.max(tonumber(known[1] or 0), tonumber(known[2] or 0)) + cost
  local n = redis.call('HINCRBY', fair, 'n', 1)
  redis.call('HSET', fair, 'f:' .. user, exact(tag), 'w:' .. user, exact(weight))
  redis.call('EXPIRE', fair, GENERATION_TTL_SECONDS)
  local score = exact(tag - 2 * TIE / (1 + in_hand) + TIE * (n % 10000) / 100000)
  redis.call('HSET', key(gid, 'state'), 'tag', score, 'cost', exact(cost))
  redis.call('ZADD', waiting, score, gid)
  redis.call('ZADD', POOL .. 'arrivals:' .. variant, now, gid)
  redis.call('SADD', POOL .. 'waiting_variants', variant)
end

-- Take a generation that will not be served out of its waiting set. What it leaves is its user's: those of his that
-- wait behind it move up by one place each.
local function leave_order(gid)
  local own = redis.call('HMGET', key(gid, 'state'), 'variant', 'user', 'tag', 'cost', 'attempt')
  local variant, user, cost = own[1], own[2], tonumber(own[4])
  local waiting, fair = POOL .. 'waiting:' .. variant, POOL .. 'fair:' .. variant
  redis.call('ZREM', POOL .. 'arrivals:' .. variant, gid)
  local waited = redis.call('ZREM', waiting, gid) == 1
  -- Else the gateways would have the variant loaded for nobody, and for that end what somebody may want.
  if redis.call('ZCARD', waiting) == 0 then redis.call('SREM', POOL .. 'waiting_variants', variant) end
  if not waited or not cost or own[5] ~= '1' then return end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', waiting, '(' .. own[3], '+inf')) do
    local state = key(other, 'state')
    local fields = redis.call('HMGET', state, 'user', 'tag', 'attempt')
    if fields[1] == user and fields[3] == '1' then
      local score = exact(tonumber(fields[2]) - cost)
      redis.call('HSET', state, 'tag', score)
      redis.call('ZADD', waiting, score, other)
    end
  end
  local last = redis.call('HGET', fair, 'f:' .. user)
  if last then redis.call('HSET', fair, 'f:' .. user, exact(tonumber(last) - cost)) end
end

-- The one end of a generation: marks it ended and tells the finalizers.
local function finish(gid, worker)
  local user = redis.call('HGET', key(gid, 'state'), 'user')
  if user then redis.call('ZREM', POOL .. 'in_hand:' .. user, gid) end
  redis.call('HSET', key(gid, 'state'), 'status', 'ended')
  if worker and worker ~= '' then redis.call('SREM', POOL .. 'running:' .. worker, gid) end
  redis.call('XADD', POOL .. 'finished', 'MAXLEN', '~', FINISHED_MAX, '*', 'g', gid)
end

-- Put a generation back into the place where it waits, under a new attempt: in front of all that was never taken,
-- beside others that were given back in the order of arrival. Its user has paid for it, so it costs nothing again.
-- Returns false and does nothing where it had its last attempt: it may lose `most` in a row without a token, as a
-- prompt does that kills every engine, and MOST_ATTEMPTS in all.
local function wait_again(gid, worker, cause, most)
  local state = key(gid, 'state')
  local fields = redis.call('HMGET', state, 'variant', 'queued_ms', 'n', 'barren', 'attempt')
  if cause == 'worker_lost' or cause == 'replica_lost' then
    local barren = tonumber(fields[4] or 0) + 1
    if barren >= most or tonumber(fields[5]) >= MOST_ATTEMPTS then return false end
    redis.call('HSET', state, 'barren', barren)
  end
  local type = tonumber(fields[3] or 0) > 0 and 'ongoing_request' or 'new_request'
  redis.call('HINCRBY', state, 'moved:' .. cause .. ':' .. type, 1)
  redis.call('HINCRBY', state, 'attempt', 1)
  redis.call('HSET', state, 'status', 'waiting', 'worker', '')
  redis.call('SREM', POOL .. 'running:' .. worker, gid)
  redis.call('ZADD', POOL .. 'waiting:' .. fields[1], exact(tonumber(fields[2]) - FRONT), gid)
  redis.call('ZADD', POOL .. 'arrivals:' .. fields[1], now_ms(), gid)
  redis.call('SADD', POOL .. 'waiting_variants', fields[1])
  return true
end
