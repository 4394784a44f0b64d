#!lua flags=allow-oom
-- Declare a process dead whose heartbeat stands still: its name is never known again, should it wake up.
--
-- KEYS  procs: processes  beat: their counters  dead: processes to be cleaned up  fenced: of this process
-- ARGV  process, the counter that stands still, seconds until the word may be forgotten
-- Answer: 1 dead, 0 if its heart beat after all, or it has ended

if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[3], ARGV[1], redis.call('HGET', KEYS[1], ARGV[1]) or '')
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SET', KEYS[4], 1, 'EX', ARGV[3])
return 1
