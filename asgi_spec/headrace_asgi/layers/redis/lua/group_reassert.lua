#!lua flags=allow-oom
-- Register a process, that is known again, for a group it has members in: unless Redis still knows it there.
--
-- KEYS  up: the process lives here  g: processes of the group  gq: groups of the process
-- ARGV  process, group
-- Answer: {1, 1} if it was registered, with this one add; {0, number of adds} if it still was; {-1, 0} GONE

if redis.call('EXISTS', KEYS[1]) == 0 then
  return { -1, 0 }
end
local adds = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '') -- what is no number is not ours
if adds then
  return { 0, adds }
end
redis.call('HSET', KEYS[2], ARGV[1], 1)
redis.call('SADD', KEYS[3], ARGV[2])
return { 1, 1 }
