#!lua flags=allow-oom
-- Who is in a group.
--
-- KEYS  g: processes of the group  gp: plain members, scored by join time in ms
-- ARGV  group_expiry in ms
-- Answer: the processes, and the plain members that have not expired

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[1]))
return { redis.call('HKEYS', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1) }
