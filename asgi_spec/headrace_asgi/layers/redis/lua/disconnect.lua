#!lua flags=allow-oom
-- Unregister a socket and send its disconnect: one act, so that of interface, reaper and any retry exactly one tells
-- it. Never refused for capacity, nor for a lapsed lease; last in the mailbox.
--
-- KEYS  s: registry of the process  f: numbers of the last messages accepted  o  m  w  n: see _mailbox
--       then the lists, in the order of their numbers
-- ARGV  socket, local part, order number, number of its list, lease in ms, entry
-- Answer: 1 SENT, 2 BOXED, -3 TOLD (by somebody before)

local socket, id, order, list, lease_ms, entry = unpack(ARGV)
local s, f, o, m, w, n = unpack(KEYS, 1, 6)
local lists = { unpack(KEYS, 7) }
if redis.call('HDEL', s, id) == 0 then
  return -3
end
redis.call('HDEL', f, id)
local flying = redis.call('GET', o)
local in_flight = flying and flying ~= 'done'
if not in_flight and redis.call('LLEN', m) == 0 then
  local c = lists[tonumber(list)]
  redis.call('SET', o, order, 'PX', lease_ms)
  redis.call('RPUSH', c, entry)
  count_sent(n, w, c)
  return 1
end
redis.call('RPUSH', m, string.char(list) .. entry)
if in_flight then
  watch(socket, o, m, w)
else
  move(socket, o, m, w, n, lists, lease_ms)
end
return 2
