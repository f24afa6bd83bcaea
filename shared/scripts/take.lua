-- Give a worker the heads of a variant's waiting set, as many as it has free slots, after giving slots back.
-- ARGV: worker id, variant, slots given back (0 where the caller is a gateway), most slots that can be free by the
--   worker's own count ('' where the caller is a gateway): a slot that was given back twice is gone by this
--   most generations to assign ('' for as many as there are free slots): a gateway that places one after the other
--   spreads a burst over the workers, and the first of them does not take all of it
-- Returns the number of generations assigned, or -1 where this replica is not ready.
local worker, variant, released = ARGV[1], ARGV[2], tonumber(ARGV[3])
local slots, field = POOL .. 'slots', worker .. '|' .. variant
local free = redis.call('HGET', slots, field)
if not free then return -1 end
free = tonumber(free) + released
local most = tonumber(ARGV[4])
if most and free > most then free = most end
local waiting = POOL .. 'waiting:' .. variant
local now = now_ms()
local assigned, services = 0, 0
local most_assigned = tonumber(ARGV[5]) or free
while free > 0 and assigned < most_assigned do
  local head = redis.call('ZPOPMIN', waiting)
  if #head == 0 then break end
  local gid = head[1]
  redis.call('ZREM', POOL .. 'arrivals:' .. variant, gid)
  local state = key(gid, 'state')
  local fields = redis.call('HMGET', state, 'status', 'attempt', 'queued_ms', 'cancel')
  if fields[1] == 'waiting' then
    redis.call('HSET', state, 'status', 'assigned', 'worker', worker)
    redis.call('SADD', POOL .. 'running:' .. worker, gid)
    redis.call('XADD', POOL .. 'worker:' .. worker, '*', 'c', cjson.encode({
      kind = 'generate', generation_id = gid, attempt = tonumber(fields[2]), variant = variant,
      waited_ms = now - tonumber(fields[3]),
    }))
    if fields[4] then
      redis.call('XADD', POOL .. 'worker:' .. worker, '*', 'c', cjson.encode({kind = 'cancel', generation_id = gid}))
    end
    free = free - 1
    assigned = assigned + 1
    if fields[2] == '1' then services = services + 1 end
  end
end
redis.call('HSET', slots, field, free)
if services > 0 then advance(variant, services) end
if redis.call('ZCARD', waiting) == 0 then redis.call('SREM', POOL .. 'waiting_variants', variant) end
return assigned
