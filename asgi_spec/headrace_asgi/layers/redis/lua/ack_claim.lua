#!lua flags=allow-oom
-- Claim messages of an acknowledged channel, after bells of it were taken. One that expired before its first claim is
-- laid aside; one that was tried, or replayed, does not expire.
--
-- KEYS  r: ids that wait  x: dead letters  due  body: see _due  tries: see _tries  why: id -> why it failed
--       n: counters
-- ARGV  how many at most, lease in ms, name to count under, why what expired is laid aside
-- Answer: of each that was claimed its id, the number of its claim, and its channel with a blank and the entry

local r, x, due, body, tries, why, n = unpack(KEYS)
local most, lease_ms, name, reason = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
-- What something else wrote over is an error here, before a message has left its list.
redis.call('HLEN', body)
redis.call('HLEN', tries)
redis.call('HLEN', why)
redis.call('ZCARD', due)
redis.call('LLEN', x)
local now, claimed, numbers, leases = now_ms(), {}, {}, {}

local function claim(id, value, tried)
  local at = value and string.find(value, ' ', 1, true)
  if not at or #value < at + 10 then -- something else wrote it
    redis.call('HDEL', body, id)
    count(n, name .. '|unreadable', 1)
    return
  end
  local expiry = struct.unpack('>I8', value, at + 3)
  if expiry > 0 and expiry < now and not tried then
    redis.call('HSET', tries, id, 0)
    redis.call('HSET', why, id, reason)
    redis.call('RPUSH', x, id)
    count(n, name .. '|expired', 1)
    return
  end
  local number, last = (tonumber(tried) or 0) + 1, #numbers
  claimed[#claimed + 1], claimed[#claimed + 2], claimed[#claimed + 3] = id, number, value
  numbers[last + 1], numbers[last + 2] = id, number
  leases[last + 1], leases[last + 2] = now + lease_ms, 'a' .. id
end

while #claimed < 3 * most do
  local ids = redis.call('LPOP', r, most - #claimed / 3)
  if not ids then
    break
  end
  local values, tried = redis.call('HMGET', body, unpack(ids)), redis.call('HMGET', tries, unpack(ids))
  for k, id in ipairs(ids) do
    claim(id, values[k], tried[k])
  end
end
if #numbers > 0 then
  redis.call('HSET', tries, unpack(numbers))
  redis.call('ZADD', due, unpack(leases))
end
return claimed
