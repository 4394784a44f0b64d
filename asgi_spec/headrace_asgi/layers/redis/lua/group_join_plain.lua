#!lua
-- Make a channel that no process of ours holds a member, until group_expiry after now.
--
-- KEYS  gp: plain members, scored by join time in ms
-- ARGV  channel

local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
return 1
