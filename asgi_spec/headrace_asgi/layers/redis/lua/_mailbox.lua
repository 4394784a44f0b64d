-- Shared by the scripts of one socket's mailbox; the plan puts this text behind their first line.
--
-- o: order number in flight, with the lease as its time to live, or 'done' between two messages of a registered
-- socket: where neither is, the lease lapsed and a message is lost.  m: entries that wait.  w: sockets whose mailbox
-- is not empty, scored by when the lease in front of it ends.  n: counters.  lists: where entries go, by their first
-- byte.  A waiting entry is that byte, then the envelope: version, flags, expiry (8), order number (4), ...

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function watch(socket, o, m, w)
  if redis.call('LLEN', m) == 0 then
    redis.call('ZREM', w, socket)
  else
    redis.call('ZADD', w, now_ms() + math.max(redis.call('PTTL', o), 0), socket)
  end
end

-- Count what was put on a list. `w` is the tag of the place and one letter, a list that tag, 'c:' and its channel.
local function count_sent(n, w, list)
  return count(n, string.sub(list, #w + 2) .. '|sent', 1)
end

-- The time an entry waited here does not count: it may start until a third of the new lease is left. So no entry
-- that still lies in a list when its lease ends can start without asking first.
local function fresh(boxed, lease_ms)
  if struct.unpack('>I8', boxed, 4) == 0 then
    return string.sub(boxed, 2)
  end
  local expiry = struct.pack('>I8', now_ms() + math.floor(lease_ms * 2 / 3))
  return string.sub(boxed, 2, 3) .. expiry .. string.sub(boxed, 12)
end

-- The list that a waiting entry is for; nil for bytes that are no such entry (too short, or without an order number):
-- something else wrote them.
local function list_of(boxed, lists)
  return #boxed > 14 and bit.band(string.byte(boxed, 3), 0x01) == 1 and lists[string.byte(boxed)] or nil
end

-- Send the next entry that waits; false if there is none.
local function move(socket, o, m, w, n, lists, lease_ms)
  local boxed, list
  repeat
    boxed = redis.call('LPOP', m)
    if not boxed then
      return false
    end
    list = list_of(boxed, lists)
    if not list then
      count(n, 'mailbox|unreadable', 1)
    end
  until list
  redis.call('SET', o, struct.unpack('>I4', boxed, 12), 'PX', lease_ms)
  redis.call('RPUSH', list, fresh(boxed, lease_ms))
  count_sent(n, w, list)
  watch(socket, o, m, w)
  return true
end
