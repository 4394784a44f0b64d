#!lua flags=allow-oom
-- Put the message in flight of an ordered socket back on its list, with its token and a new lease.
--
-- KEYS  o: order number in flight  c: the list it was taken from
-- ARGV  order number, lease in ms, LPUSH (not started) or RPUSH (to be tried later), entry
-- Answer: 1 back, -4 STALE (somebody moved on: it must not start again)

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -4
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call(ARGV[3], KEYS[2], ARGV[4])
return 1
