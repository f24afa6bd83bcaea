-- Find the gateways that have fallen silent, and the generations that nobody reads for that: they belong to no chat, and
-- no other gateway watches them.
-- Returns {{gateway ids}, {generation id, user, …}}
local silent = redis.call('ZRANGEBYSCORE', POOL .. 'gateways', '-inf', now_ms() - GATEWAY_LOST_MS)
if #silent == 0 then return {{}, {}} end
local is_silent, abandoned = {}, {}
for _, gateway in ipairs(silent) do is_silent[gateway] = true end
local function look(gid)
  local state = redis.call('HMGET', key(gid, 'state'), 'user', 'chat_id')
  if not state[1] or state[2] ~= '' then return end
  for _, gateway in ipairs(redis.call('SMEMBERS', key(gid, 'watchers'))) do
    if not is_silent[gateway] and redis.call('ZSCORE', POOL .. 'gateways', gateway) then return end
  end
  abandoned[#abandoned + 1] = gid
  abandoned[#abandoned + 1] = state[1]
end
for _, worker in ipairs(redis.call('ZRANGE', POOL .. 'workers', 0, -1)) do
  for _, gid in ipairs(redis.call('SMEMBERS', POOL .. 'running:' .. worker)) do look(gid) end
end
for _, variant in ipairs(redis.call('SMEMBERS', POOL .. 'waiting_variants')) do
  for _, gid in ipairs(redis.call('ZRANGE', POOL .. 'waiting:' .. variant, 0, -1)) do look(gid) end
end
return {silent, abandoned}
