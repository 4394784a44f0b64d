#!lua flags=allow-oom
-- Put unordered entries back on the list they were taken from, whatever its capacity: they were accepted.
--
-- KEYS  c: the list
-- ARGV  LPUSH (not started) or RPUSH (to be tried later), entries...

redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
return 1
