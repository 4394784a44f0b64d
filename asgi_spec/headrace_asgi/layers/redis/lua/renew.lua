#!lua flags=allow-oom
-- Renew the lease of the message in flight; also the question of a late starter whether it still is.
--
-- KEYS  o: order number in flight
-- ARGV  order number, lease in ms
-- Answer: 1 renewed, -4 STALE

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -4
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
