#!lua flags=allow-oom
-- End the message in flight of a socket: the next one in its mailbox goes out, or all of them (drain: the socket is
-- not ordered). The order number is the fence: whoever comes late changes nothing. A registered socket without a next
-- one keeps the mark 'done', which tells it from one whose message was lost.
--
-- KEYS  s: registry of the process  o  m  w  n: see _mailbox  then the lists, in the order of their numbers
-- ARGV  socket, local part, order number, lease in ms, '1' to drain
-- Answer: 1 done, -4 STALE

-- What is drained loses its token: nothing waits behind it, so it may be given back or start late as any other.
local function plain(boxed, lease_ms)
  local entry = fresh(boxed, lease_ms)
  local head = string.char(string.byte(entry), bit.band(string.byte(entry, 2), 0xFE))
  return head .. string.sub(entry, 3, 10) .. string.sub(entry, 15)
end

local socket, id, order, lease_ms, drain = unpack(ARGV)
local s, o, m, w, n = unpack(KEYS, 1, 5)
local lists = { unpack(KEYS, 6) }
if redis.call('GET', o) ~= order then
  return -4
end
if drain == '1' then
  for _, boxed in ipairs(redis.call('LRANGE', m, 0, -1)) do
    local list = list_of(boxed, lists)
    if list then
      redis.call('RPUSH', list, plain(boxed, lease_ms))
      count_sent(n, w, list)
    else
      count(n, 'mailbox|unreadable', 1)
    end
  end
  redis.call('DEL', m)
  redis.call('ZREM', w, socket)
elseif move(socket, o, m, w, n, lists, lease_ms) then
  return 1
end
if redis.call('HEXISTS', s, id) == 0 then
  redis.call('DEL', o)
elseif drain == '1' then
  -- A frame may be on its way that was sent before the process knew: it is no loss. Later ones ask nothing of `o`.
  redis.call('SET', o, 'done', 'PX', lease_ms)
else
  redis.call('SET', o, 'done')
end
return 1
