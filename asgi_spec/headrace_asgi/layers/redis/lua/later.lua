#!lua
-- Keep a message until it is due.
--
-- KEYS  body  due: see _due  movers: list of their bells  then fin of this id, of a message to be acknowledged
-- ARGV  id, 'd' or 'a', ms, '1' if these count from now on, queue with a blank and the entry, bell
-- Answer: 1 kept, -2 DUPLICATE (it is here, or was done a while ago)

local id, kind, ms, from_now, value, bell = unpack(ARGV)
local body, due, movers = unpack(KEYS)
if redis.call('HEXISTS', body, id) == 1 or (KEYS[4] and redis.call('EXISTS', KEYS[4]) == 1) then
  return -2
end
redis.call('HSET', body, id, value)
put_due(due, movers, bell, kind .. id, tonumber(ms) + (from_now == '1' and now_ms() or 0))
return 1
