#!lua flags=allow-oom
-- Drop the connect of a socket, which expired before any consumer saw it, and with it all that is known of the socket:
-- so nobody is told of its end either. If its order number is not in flight any more, somebody moved on.
--
-- KEYS  s: registry of the process  f: numbers of the last messages accepted  o  m  w  n: see _mailbox
--       then the lists, in the order of their numbers
-- ARGV  socket, local part
-- Answer: 1 dropped, -4 STALE

local socket, id = unpack(ARGV)
local s, f, o, m, w, n = unpack(KEYS, 1, 6)
if redis.call('GET', o) ~= '0' then
  return -4
end
for _, boxed in ipairs(redis.call('LRANGE', m, 0, -1)) do
  local list = #boxed > 0 and KEYS[6 + string.byte(boxed)]
  count(n, list and string.sub(list, #w + 2) .. '|dropped' or 'mailbox|unreadable', 1)
end
redis.call('HDEL', s, id)
redis.call('HDEL', f, id)
redis.call('DEL', o, m)
redis.call('ZREM', w, socket)
return 1
