#!lua flags=allow-oom
-- Renew the claim of a message that runs long; also the question of a late starter whether it still has it.
--
-- KEYS  due: see _due  tries: see _tries
-- ARGV  id, number of the claim, lease in ms
-- Answer: 1 renewed, -4 STALE

if is_stale(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then
  return -4
end
redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[3]), 'a' .. ARGV[1])
return 1
