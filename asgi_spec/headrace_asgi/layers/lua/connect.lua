#!lua
-- Register a socket and send its connect, which holds the socket's order slot until a worker finishes it.
--
-- KEYS  up: the process lives here  s: its registry  o: order number in flight  c: list of connects  n: counters
-- ARGV  local part, path, capacity, lease in ms, channel name, entry
-- Answer: 1 SENT, 0 FULL, -1 GONE, -2 DUPLICATE

local id, path, capacity, lease_ms, name, entry = unpack(ARGV)
if redis.call('EXISTS', KEYS[1]) == 0 then
  return -1
end
if redis.call('HEXISTS', KEYS[2], id) == 1 then
  return -2
end
if redis.call('LLEN', KEYS[4]) >= tonumber(capacity) then
  redis.call('HINCRBY', KEYS[5], name .. '|shed', 1)
  return 0
end
redis.call('HSET', KEYS[2], id, path)
redis.call('SET', KEYS[3], 0, 'PX', lease_ms)
redis.call('RPUSH', KEYS[4], entry)
redis.call('HINCRBY', KEYS[5], name .. '|sent', 1)
return 1
