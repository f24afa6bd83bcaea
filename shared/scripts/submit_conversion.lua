-- Accept a conversion job, or join the open one that makes the same.
-- ARGV: conversion id, JSON of what the job holds while it is open (conversion_job.held_names), creation time in ms,
--       event JSON, seconds that the job is kept where it has ended already or '', seconds that its number is listed,
--       then the fields and values of the job's hash
-- Returns {'created', id} | {'joined', id of the open job} | {'name_taken', the source that has the name}
--       | {'variant_taken', name of the variant}
local cid, held, created, event, kept, listed = unpack(ARGV, 1, 6)
-- Redis was lost before it could say so: the client asked once more.
if redis.call('EXISTS', key(cid, 'job')) == 1 then return {'created', cid} end
local all, open = 'ovchat:{conversions}:all', 'ovchat:{conversions}:open'
local mine, refusal = cjson.decode(held), nil
for _, other in ipairs(redis.call('SMEMBERS', open)) do
  local state, theirs = unpack(redis.call('HMGET', key(other, 'job'), 'state', 'held'))
  if state ~= '"queued"' and state ~= '"running"' then
    redis.call('SREM', open, other)
  elseif theirs then
    theirs = cjson.decode(theirs)
    -- One that is to stop makes nothing any more, and a second one of the same takes no name from it.
    if theirs.digest == mine.digest and redis.call('EXISTS', key(other, 'cancel')) == 0 then
      return {'joined', other}
    end
    -- A job that failed leaves the names to the next one; what is published under them the gateway has looked at.
    if theirs.model == mine.model then
      for name, digest in pairs(mine.variants) do
        if theirs.variants[name] and theirs.variants[name] ~= digest then refusal = {'variant_taken', name} end
      end
      if theirs.source_model ~= mine.source_model then refusal = {'name_taken', theirs.source_model} end
    end
  end
end
if refusal then return refusal end
redis.call('ZREMRANGEBYSCORE', all, '-inf', created - listed * 1000)
redis.call('ZADD', all, created, cid)
redis.call('HSET', key(cid, 'job'), 'held', held, unpack(ARGV, 7))
redis.call('XADD', key(cid, 'events'), '*', 'e', event)
if kept == '' then
  redis.call('SADD', open, cid)
else
  redis.call('EXPIRE', key(cid, 'job'), kept)
  redis.call('EXPIRE', key(cid, 'events'), kept)
end
return {'created', cid}
