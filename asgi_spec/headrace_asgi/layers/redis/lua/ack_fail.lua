#!lua flags=allow-oom
-- A try of a message failed: it is tried again after a pause, or laid aside.
--
-- KEYS  due: see _due  tries: see _tries  why: id -> why it failed  x: dead letters
--       r: ids that wait  c: the channel's list  movers: list of their bells  n: counters
-- ARGV  id, number of the claim, tries of a message, pause in ms, why, bell of the channel, bell of the movers, name to count
--       under
-- Answer: 1 noted, -4 STALE

local id, attempt, most, pause_ms, reason, bell, movers_bell, name = unpack(ARGV)
local due, tries, why, x, r, c, movers, n = unpack(KEYS)
if is_stale(due, tries, id, attempt) then
  return -4
end
redis.call('HSET', why, id, reason)
if tries_of(attempt) >= tonumber(most) then
  redis.call('RPUSH', x, id)
  redis.call('ZREM', due, 'a' .. id)
  count(n, name .. '|dead', 1)
else
  put_due(due, movers, movers_bell, 'a' .. id, now_ms() + tonumber(pause_ms))
end
ring(r, c, bell)
return 1
