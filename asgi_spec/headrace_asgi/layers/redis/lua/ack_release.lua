#!lua flags=allow-oom
-- Put a message that was claimed and not started back at the head: that was no try of it.
--
-- KEYS  due: see _due  tries: see _tries  r: ids that wait  c: the channel's list
-- ARGV  id, number of the claim, bell
-- Answer: 1 back, -4 STALE

local id, attempt, bell = unpack(ARGV)
local due, tries, r, c = unpack(KEYS)
if is_stale(due, tries, id, attempt) then
  return -4
end
redis.call('LPUSH', c, bell)
redis.call('LPUSH', r, id)
redis.call('ZREM', due, 'a' .. id)
redis.call('HINCRBY', tries, id, ROUND - 1)
return 1
