#!lua flags=allow-oom
-- End the message in flight of a socket: the next one in its mailbox goes out, or all of them (drain: the socket is
-- not ordered). The order number is the fence: whoever comes late changes nothing.
--
-- KEYS  o  m  w: see _mailbox  then the lists, in the order of their numbers
-- ARGV  socket, order number, lease in ms, '1' to drain
-- Answer: 1 done, -4 STALE

-- What is drained loses its token: nothing waits behind it, so it may be given back or start late as any other.
local function plain(boxed, lease_ms)
  local entry = fresh(boxed, lease_ms)
  local head = string.char(string.byte(entry), bit.band(string.byte(entry, 2), 0xFE))
  return head .. string.sub(entry, 3, 10) .. string.sub(entry, 15)
end

local socket, order, lease_ms, drain = unpack(ARGV)
local o, m, w = unpack(KEYS, 1, 3)
local lists = { unpack(KEYS, 4) }
if redis.call('GET', o) ~= order then
  return -4
end
redis.call('DEL', o)
if drain ~= '1' then
  move(socket, o, m, w, lists, lease_ms)
  return 1
end
for _, boxed in ipairs(redis.call('LRANGE', m, 0, -1)) do
  redis.call('RPUSH', lists[string.byte(boxed)], plain(boxed, lease_ms))
end
redis.call('DEL', m)
redis.call('ZREM', w, socket)
return 1
