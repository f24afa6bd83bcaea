-- Accept a conversion job, or join the running one that makes the same.
-- ARGV: conversion id, digest of the plan, model name, source model, creation time in ms, event JSON or '',
--       then the fields and values of the job's hash
-- Returns {'created', id} | {'joined', id of the running job} | {'name_taken', the source that has the name}
local cid, digest, model, source, created, event = unpack(ARGV, 1, 6)
local function is_open(job)
  local state = redis.call('HGET', key(job, 'job'), 'state')
  return state == '"queued"' or state == '"running"'
end
-- A job that failed leaves the name to the next one; what is published under it the gateway has looked at.
local holder = redis.call('HGET', 'ovchat:{models}:jobs', model)
if holder and is_open(holder) then
  local owner = cjson.decode(redis.call('HGET', key(holder, 'job'), 'plan')).source_model
  if owner ~= source then return {'name_taken', owner} end
end
local running = redis.call('HGET', 'ovchat:{conversions}:digests', digest)
if running and is_open(running) then return {'joined', running} end
redis.call('HSET', 'ovchat:{models}:jobs', model, cid)
redis.call('HSET', 'ovchat:{conversions}:digests', digest, cid)
redis.call('ZADD', 'ovchat:{conversions}:all', created, cid)
redis.call('HSET', key(cid, 'job'), unpack(ARGV, 7))
if event ~= '' then redis.call('XADD', key(cid, 'events'), '*', 'e', event) end
return {'created', cid}
