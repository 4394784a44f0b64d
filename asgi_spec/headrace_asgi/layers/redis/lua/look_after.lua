#!lua flags=allow-oom
-- What whoever looks for dead processes has to know; only one does at a time, which is an economy and no more.
--
-- KEYS  reaper: who looks, while it goes on looking  beat: heartbeat counters  dead: processes to be cleaned up
-- ARGV  name of who asks, ms for which it is the one
-- Answer: nothing if another one looks;  the counters, as a flat list;  the dead

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'string' and holder ~= ARGV[1] then
  return false
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { redis.call('HGETALL', KEYS[2]), redis.call('HKEYS', KEYS[3]) }
