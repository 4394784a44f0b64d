#!lua flags=allow-oom
-- Unregister a socket and send its disconnect: one act, so that of interface, reaper and any retry exactly one tells
-- it. Never refused for capacity; last in the mailbox.
--
-- KEYS  s: registry of the process  o  m  w: see _mailbox  n: counters  then the lists, in the order of their numbers
-- ARGV  socket, local part, order number, number of its list, lease in ms, channel name, entry
-- Answer: 1 SENT, 2 BOXED, -3 TOLD (by somebody before)

local socket, id, order, list, lease_ms, name, entry = unpack(ARGV)
local s, o, m, w, n = unpack(KEYS, 1, 5)
local lists = { unpack(KEYS, 6) }
if redis.call('HDEL', s, id) == 0 then
  return -3
end
redis.call('HINCRBY', n, name .. '|sent', 1)
local in_flight = redis.call('EXISTS', o) == 1
if not in_flight and redis.call('LLEN', m) == 0 then
  redis.call('SET', o, order, 'PX', lease_ms)
  redis.call('RPUSH', lists[tonumber(list)], entry)
  return 1
end
redis.call('RPUSH', m, string.char(list) .. entry)
if in_flight then
  watch(socket, o, m, w)
else
  move(socket, o, m, w, lists, lease_ms)
end
return 2
