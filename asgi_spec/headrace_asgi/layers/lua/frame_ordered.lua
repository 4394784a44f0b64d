#!lua
-- Send one message of a socket whose messages start in order: at once if nothing is in flight, else to the mailbox.
--
-- KEYS  s: registry of the process  o  m  w: see _mailbox  n: counters  then the lists, in the order of their numbers
-- ARGV  socket, local part, order number, number of its list, lease in ms, capacity, mailbox capacity, channel, entry
-- Answer: 1 SENT, 2 BOXED, 0 FULL, -1 GONE (reaped or told: close the socket)

local socket, id, order, list, lease_ms, capacity, box_capacity, name, entry = unpack(ARGV)
local s, o, m, w, n = unpack(KEYS, 1, 5)
local lists = { unpack(KEYS, 6) }
if redis.call('HEXISTS', s, id) == 0 then
  return -1
end
local waiting = redis.call('LLEN', m)
local in_flight = redis.call('EXISTS', o) == 1
local boxed = in_flight or waiting > 0
local full = boxed and waiting >= tonumber(box_capacity)
  or not boxed and redis.call('LLEN', lists[tonumber(list)]) >= tonumber(capacity)
if full then
  redis.call('HINCRBY', n, name .. '|shed', 1)
  return 0
end
redis.call('HINCRBY', n, name .. '|sent', 1)
if not boxed then
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
