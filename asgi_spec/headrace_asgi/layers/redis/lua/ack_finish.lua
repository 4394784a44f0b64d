#!lua flags=allow-oom
-- A message of an acknowledged channel is done.
--
-- KEYS  due  body: see _due  tries: id -> number of tries  why: id -> why it failed  fin: of this id
--       r: ids that wait  c: the channel's list  n: counters
-- ARGV  id, number of this try, ms for which it is remembered, bell, name to count under
-- Answer: 1 done, -4 STALE

local id, attempt, remembered_ms, bell, name = unpack(ARGV)
local due, body, tries, why, fin, r, c, n = unpack(KEYS)
if is_stale(due, tries, id, attempt) then
  return -4
end
redis.call('ZREM', due, 'a' .. id)
redis.call('HDEL', body, id)
redis.call('HDEL', tries, id)
redis.call('HDEL', why, id)
redis.call('SET', fin, 1, 'PX', remembered_ms)
count(n, name .. '|done', 1)
ring(r, c, bell)
return 1
