#!lua
-- Put entries on a shared or single-reader channel, as many as fit.
--
-- KEYS  c: the channel's list  n: counters  up: the sender lives here (if it is an interface process, which shall
--       learn at once that Redis lost its data)
-- ARGV  capacity, seconds until an abandoned list goes (0 = never), name to count under ('' = do not), entries...
-- Answer: how many entries were put there, the rest was refused; or -1 (GONE) if the sender is unknown.

if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 0 then
  return -1
end
local capacity, ttl, name = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local offered = #ARGV - 3
local room = math.max(capacity - redis.call('LLEN', KEYS[1]), 0)
local sent = math.min(offered, room)
if sent > 0 then
  redis.call('RPUSH', KEYS[1], unpack(ARGV, 4, 3 + sent))
  if ttl > 0 then
    redis.call('EXPIRE', KEYS[1], ttl)
  end
end
if name ~= '' then
  if sent > 0 then
    count(KEYS[2], name .. '|sent', sent)
  end
  if sent < offered then
    count(KEYS[2], name .. '|shed', offered - sent)
  end
end
return sent
