#!lua
-- Register a socket and send its connect, which holds the socket's order slot until a worker finishes it.
--
-- KEYS  up: the process lives here  s: its registry  f: numbers of the last messages accepted
--       o: order number in flight  c: list of connects  n: counters
-- ARGV  local part, path, capacity, lease in ms, channel name, entry
-- Answer: 1 SENT, 0 FULL, -1 GONE, -2 DUPLICATE

local id, path, capacity, lease_ms, name, entry = unpack(ARGV)
local up, s, f, o, c, n = unpack(KEYS)
if redis.call('EXISTS', up) == 0 then
  return -1
end
if redis.call('HEXISTS', s, id) == 1 then
  return -2
end
if redis.call('LLEN', c) >= tonumber(capacity) then
  count(n, name .. '|shed', 1)
  return 0
end
redis.call('HSET', s, id, path)
redis.call('HSET', f, id, 0)
redis.call('SET', o, 0, 'PX', lease_ms)
redis.call('RPUSH', c, entry)
count(n, name .. '|sent', 1)
return 1
