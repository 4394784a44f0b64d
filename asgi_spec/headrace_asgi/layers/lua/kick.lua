#!lua flags=allow-oom
-- Move on a mailbox whose lease lapsed: whoever held the message in flight is gone.
--
-- KEYS  o  m  w: see _mailbox  then the lists, in the order of their numbers
-- ARGV  socket, lease in ms
-- Answer: 1 moved on, 0 the lease still holds

local socket, lease_ms = unpack(ARGV)
local o, m, w = unpack(KEYS, 1, 3)
if redis.call('EXISTS', o) == 1 then
  watch(socket, o, m, w)
  return 0
end
move(socket, o, m, w, { unpack(KEYS, 4) }, lease_ms)
return 1
