#!lua flags=allow-oom
-- Unregister a socket that is owed no disconnect.
--
-- KEYS  s: registry of the process  f: numbers of the last messages accepted  o: order number in flight
-- ARGV  local part
-- Answer: 1 forgotten, 0 it was not registered

if redis.call('GET', KEYS[3]) == 'done' then
  redis.call('DEL', KEYS[3])
end
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
