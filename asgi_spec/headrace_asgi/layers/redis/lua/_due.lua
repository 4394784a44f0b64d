-- Shared by the scripts of what becomes due.
--
-- due: what becomes due, by when: 'd' and the id of a message for later, or 'a' and the id of one of an acknowledged
-- channel: its next try, or the end of the lease of whoever has it.  body: id -> queue, a blank, entry.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Movers wait for the first of all that is due: one of them is told if this is it now.
local function put_due(due, movers, bell, member, at)
  redis.call('ZADD', due, at, member)
  if redis.call('ZRANGE', due, 0, 0)[1] == member and redis.call('LLEN', movers) == 0 then
    redis.call('RPUSH', movers, bell)
  end
end
