#!lua
-- Send one message of a socket whose messages start in order: at once if nothing is in flight, else to the mailbox.
-- It may be repeated: what was accepted before is told by its number. Where a lapsed lease shows that a message was
-- lost, nothing is sent, and every repeat is told so until the process has been told (kick) or the socket ends.
--
-- KEYS  f: numbers of the last messages accepted  o  m  w  n: see _mailbox  then the lists, in the order of their numbers
-- ARGV  socket, local part, order number, number of its list, lease in ms, capacity, mailbox capacity, channel, entry
-- Answer: 1 SENT, 2 BOXED, 0 FULL, -1 GONE (reaped or told: close the socket), -2 DUPLICATE, -7 LAPSED;
--         where its list was looked at also how many messages were ever put there, and how many it holds now

local socket, id, order, list, lease_ms, capacity, box_capacity, name, entry = unpack(ARGV)
local f, o, m, w, n = unpack(KEYS, 1, 5)
local c = KEYS[5 + list]
local before = tonumber(redis.call('HGET', f, id))
if not before then
  return { -1 }
end
if tonumber(order) <= before then
  return { -2 }
end
local flying = redis.call('GET', o)
if not flying then
  return { -7 }
end
-- Pushing tells the length: no need to ask before.
if flying == 'done' then
  local length = redis.call('RPUSH', c, entry)
  if length > tonumber(capacity) then
    redis.call('RPOP', c)
    count(n, name .. '|shed', 1)
    return { 0, tonumber(redis.pcall('HGET', n, name .. '|sent')) or 0, length - 1 }
  end
  redis.call('HSET', f, id, order)
  redis.call('SET', o, order, 'PX', lease_ms)
  return { 1, count(n, name .. '|sent', 1), length }
end
if redis.call('RPUSH', m, string.char(list) .. entry) > tonumber(box_capacity) then
  redis.call('RPOP', m)
  count(n, name .. '|shed', 1)
  return { 0 }
end
redis.call('HSET', f, id, order)
watch(socket, o, m, w)
return { 2 }
