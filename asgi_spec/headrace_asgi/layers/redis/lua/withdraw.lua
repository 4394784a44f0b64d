#!lua flags=allow-oom
-- Take a process that ends out of the tables, and say that its name is never known again.
--
-- KEYS  procs: processes  beat: their counters  fenced: of this process
-- ARGV  process, seconds until the word may be forgotten

redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], 1, 'EX', ARGV[2])
return 1
