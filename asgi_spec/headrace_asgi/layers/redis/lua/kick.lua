#!lua flags=allow-oom
-- Move on a mailbox whose lease lapsed: whoever held the message in flight is gone, and that message with it. The
-- process of the socket must know before anything moves, or a frame would be skipped in silence: so who finds a lapse
-- tells, and kicks again.
--
-- KEYS  o  m  w  n: see _mailbox  then the lists, in the order of their numbers
-- ARGV  socket, lease in ms, '1' if its process was told
-- Answer: 1 moved on, 0 the lease still holds or nothing waits, -7 LAPSED (tell, then kick again)

local socket, lease_ms, told = unpack(ARGV)
local o, m, w, n = unpack(KEYS, 1, 4)
local flying = redis.call('GET', o)
if flying and flying ~= 'done' then
  watch(socket, o, m, w)
  return 0
end
if not flying and told ~= '1' and redis.call('LLEN', m) > 0 then
  return -7
end
if move(socket, o, m, w, n, { unpack(KEYS, 5) }, lease_ms) then
  return 1
end
redis.call('ZREM', w, socket)
return 0
