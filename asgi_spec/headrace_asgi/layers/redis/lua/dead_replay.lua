#!lua
-- Put dead letters back on their channel, as if they were never tried; they do not expire any more.
--
-- KEYS  x: dead letters  r: ids that wait  c: the channel's list  tries: see _tries  why: id -> why it failed
--       n: counters
-- ARGV  bell, name to count under, then ids
-- Answer: how many there were

local x, r, c, tries, why, n = unpack(KEYS)
local replayed = 0
for i = 3, #ARGV do
  if redis.call('LREM', x, 1, ARGV[i]) == 1 then
    local number = redis.call('HGET', tries, ARGV[i])
    local was_tried = tries_of(number) > 0
    count(n, ARGV[2] .. (was_tried and '|dead' or '|expired'), -1)
    redis.call('RPUSH', r, ARGV[i])
    redis.call('HSET', tries, ARGV[i], (tonumber(number or '') or 0) - tries_of(number) + ROUND)
    redis.call('HDEL', why, ARGV[i])
    redis.call('RPUSH', c, ARGV[1])
    replayed = replayed + 1
  end
end
return replayed
