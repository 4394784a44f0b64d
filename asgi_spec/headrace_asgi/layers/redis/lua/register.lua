#!lua flags=allow-oom
-- Make a process known at a place. Its queue may have been put there by whoever missed it, to go by itself: from now
-- on it stays.
--
-- KEYS  up: the process lives here  q: its queue  procs: processes  beat: their counters
--       fenced: set if this process was declared dead (these three at home only)
-- ARGV  process, description, seconds until an abandoned mark goes
-- Answer: 1, or -5 FENCED at home: others declared it dead, and may have cleaned up after it already

local process, description, ttl = unpack(ARGV)
if KEYS[3] then
  if redis.call('EXISTS', KEYS[5]) == 1 then
    return -5
  end
  redis.call('HSET', KEYS[3], process, description)
  redis.call('HSETNX', KEYS[4], process, 0) -- who dies before its first beat is missed, too
end
redis.call('HSET', KEYS[1], 'version', 1)
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('PERSIST', KEYS[2])
return 1
