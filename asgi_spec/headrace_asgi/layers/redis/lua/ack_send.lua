#!lua
-- Put messages on an acknowledged channel, as many as fit. It may be repeated: what is here, or was done a while ago,
-- is known by its id.
--
-- KEYS  r: ids that wait  c: the channel's list, of bells  body: see _due  n: counters  then fin of each id
-- ARGV  capacity, name to count under, bell, then each id, and the channel with a blank and the entry
-- Answer: how many are here or were done, from the front; the rest was refused

local r, c, body, n = unpack(KEYS, 1, 4)
local capacity, name, bell = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local ids = {}
for k = 1, #KEYS - 4 do
  ids[k] = ARGV[2 * k + 2]
end
local here = redis.call('HMGET', body, unpack(ids))
local some_done = redis.call('EXISTS', unpack(KEYS, 5)) > 0
local room, accepted = capacity - redis.call('LLEN', r), 0
local bells, bodies, fresh = {}, {}, {}
for k, id in ipairs(ids) do
  if not here[k] and not (some_done and redis.call('EXISTS', KEYS[4 + k]) == 1) then
    local at = #fresh + 1
    if at > room then
      count(n, name .. '|shed', #ids - accepted)
      break
    end
    bells[at], fresh[at] = bell, id
    bodies[2 * at - 1], bodies[2 * at] = id, ARGV[2 * k + 3]
  end
  accepted = accepted + 1
end
if #fresh > 0 then
  redis.call('RPUSH', c, unpack(bells))
  redis.call('HSET', body, unpack(bodies))
  redis.call('RPUSH', r, unpack(fresh))
  count(n, name .. '|sent', #fresh)
end
return accepted
