#!lua flags=allow-oom
-- Make a process known at a place. Its queue may have been put there by whoever missed it, to go by itself: from now
-- on it stays.
--
-- KEYS  up: the process lives here  q: its queue  procs: processes (at home only)
-- ARGV  process, description, seconds until an abandoned mark goes

local process, description, ttl = unpack(ARGV)
if KEYS[3] then
  redis.call('HSET', KEYS[3], process, description)
end
redis.call('HSET', KEYS[1], 'version', 1)
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('PERSIST', KEYS[2])
return 1
