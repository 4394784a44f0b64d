#!lua flags=allow-oom
-- Claim messages of an acknowledged channel, after bells of it were taken. One that expired before its first claim is
-- laid aside; one that was tried, or replayed, does not expire.
--
-- KEYS  r: ids that wait  x: dead letters  due  body: see _due  tries: id -> number of tries  why: id -> why it failed
--       n: counters
-- ARGV  how many at most, lease in ms, name to count under, why what expired is laid aside
-- Answer: of each that was claimed its id, the number of this try, and its channel with a blank and the entry

local r, x, due, body, tries, why, n = unpack(KEYS)
local most, lease_ms, name, reason = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
-- What something else wrote over is an error here, before a message has left its list.
redis.call('HLEN', body)
redis.call('HLEN', tries)
redis.call('HLEN', why)
redis.call('ZCARD', due)
redis.call('LLEN', x)
local now, claimed = now_ms(), {}
while #claimed < 3 * most do
  local id = redis.call('LPOP', r)
  if not id then
    break
  end
  local value = redis.call('HGET', body, id)
  local at = value and string.find(value, ' ', 1, true)
  if not at or #value < at + 10 then -- something else wrote it
    redis.call('HDEL', body, id)
    count(n, name .. '|unreadable', 1)
  else
    local expiry = struct.unpack('>I8', value, at + 3)
    if expiry > 0 and expiry < now and redis.call('HEXISTS', tries, id) == 0 then
      redis.call('HSET', tries, id, 0)
      redis.call('HSET', why, id, reason)
      redis.call('RPUSH', x, id)
      count(n, name .. '|expired', 1)
    else
      claimed[#claimed + 1] = id
      claimed[#claimed + 1] = count(tries, id, 1)
      claimed[#claimed + 1] = value
      redis.call('ZADD', due, now + lease_ms, 'a' .. id)
    end
  end
end
return claimed
