-- Accept a conversion job, or join the running one that makes the same.
-- ARGV: conversion id, digest of the plan, model name, source model, creation time in ms, event JSON or '',
--       then the fields and values of the job's hash
-- Returns {'created', id} | {'joined', id of the running job} | {'name_taken', the source that has the name}
local cid, digest, model, source, created, event = unpack(ARGV, 1, 6)
local owner = redis.call('HGET', 'ovchat:{models}:sources', model)
if owner and owner ~= source then return {'name_taken', owner} end
local running = redis.call('HGET', 'ovchat:{conversions}:digests', digest)
if running then
  local state = redis.call('HGET', key(running, 'job'), 'state')
  if state == '"queued"' or state == '"running"' then return {'joined', running} end
end
redis.call('HSET', 'ovchat:{models}:sources', model, source)
redis.call('HSET', 'ovchat:{conversions}:digests', digest, cid)
redis.call('ZADD', 'ovchat:{conversions}:all', created, cid)
redis.call('HSET', key(cid, 'job'), unpack(ARGV, 7))
if event ~= '' then redis.call('XADD', key(cid, 'events'), '*', 'e', event) end
return {'created', cid}
