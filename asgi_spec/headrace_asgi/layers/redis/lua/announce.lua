#!lua flags=allow-oom
-- Say which channels a worker takes. One that nobody has taken for long is taken out, so the set stays as small as the
-- routing.
--
-- KEYS  takers: channels that workers take, scored by when they last said so
-- ARGV  ms for which a word is remembered, channels...

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[1]) -- something else wrote it; all of it is said again by and by
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]))
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
