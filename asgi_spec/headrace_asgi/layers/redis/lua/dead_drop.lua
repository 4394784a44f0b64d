#!lua flags=allow-oom
-- Remove dead letters.
--
-- KEYS  x: dead letters  body: see _due  tries: see _tries  why: id -> why it failed
-- ARGV  ids
-- Answer: how many there were

local x, body, tries, why = unpack(KEYS)
local dropped = 0
for i = 1, #ARGV do
  if redis.call('LREM', x, 1, ARGV[i]) == 1 then
    redis.call('HDEL', body, ARGV[i])
    redis.call('HDEL', tries, ARGV[i])
    redis.call('HDEL', why, ARGV[i])
    dropped = dropped + 1
  end
end
return dropped
