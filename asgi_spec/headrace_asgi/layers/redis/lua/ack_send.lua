#!lua
-- Put messages on an acknowledged channel, as many as fit. It may be repeated: what is here, or was done a while ago,
-- is known by its id.
--
-- KEYS  r: ids that wait  c: the channel's list, of bells  body: see _due  n: counters  then fin of each id
-- ARGV  capacity, name to count under, bell, then each id, and the channel with a blank and the entry
-- Answer: how many are here or were done, from the front; the rest was refused

local r, c, body, n = unpack(KEYS, 1, 4)
local capacity, name, bell = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local offered = (#ARGV - 3) / 2
local length, fresh, accepted = redis.call('LLEN', r), 0, 0
for k = 1, offered do
  local id = ARGV[2 * k + 2]
  if redis.call('HEXISTS', body, id) == 0 and redis.call('EXISTS', KEYS[4 + k]) == 0 then
    if length >= capacity then
      count(n, name .. '|shed', offered - accepted)
      break
    end
    redis.call('RPUSH', c, bell)
    redis.call('HSET', body, id, ARGV[2 * k + 3])
    redis.call('RPUSH', r, id)
    length, fresh = length + 1, fresh + 1
  end
  accepted = accepted + 1
end
if fresh > 0 then
  count(n, name .. '|sent', fresh)
end
return accepted
