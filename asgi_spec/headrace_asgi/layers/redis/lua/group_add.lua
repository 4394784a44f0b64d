#!lua
-- Register a process for a group: one add more. The number tells a leave of the last member from one that an add
-- on its way has overtaken.
--
-- KEYS  up: the process lives here  g: processes of the group  gq: groups of the process
-- ARGV  process, group
-- Answer: the number of adds so far, or -1 GONE

if redis.call('EXISTS', KEYS[1]) == 0 then
  return -1
end
local adds = redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
if adds == 1 then
  redis.call('SADD', KEYS[3], ARGV[2])
end
return adds
