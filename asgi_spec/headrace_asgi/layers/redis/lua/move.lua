#!lua flags=allow-oom
-- Move what is due to its queues. Somebody else may have moved it since it was looked at, or a lease may have been
-- renewed: only what is still due moves, so any number of movers move each once. Where there is no room it is due
-- again after a pause.
--
-- KEYS  due  body: see _due  tries: see _tries  why: id -> why it failed  n: counters
--       then of each queue its list, up of its process (or the list again), r and x
-- ARGV  tries of a message, why it is laid aside after them, pause in ms, number of queues
--       then of each queue its capacity, seconds until an abandoned list goes (0 = never), name to count under, bell
--       then each member of due with the number of its queue
-- Answer: how many were moved

local due, body, tries, why, n = unpack(KEYS, 1, 5)
local most, reason, pause_ms, queues = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now, moved = now_ms(), 0

local function forget(member)
  redis.call('ZREM', due, member)
  redis.call('HDEL', body, string.sub(member, 2))
end

local function postpone(member, name)
  redis.call('ZADD', due, now + pause_ms, member)
  if name ~= '' then
    count(n, name .. '|postponed', 1)
  end
end

-- A message of an acknowledged channel: its next try begins, or it had as many as it gets.
local function try_again(member, keys, capacity, name, bell)
  local c, _, r, x = unpack(KEYS, keys + 1, keys + 4)
  local id = string.sub(member, 2)
  local before = redis.call('HGET', tries, id)
  if not before and redis.call('LLEN', r) >= capacity then
    postpone(member, name)
    return
  end
  if tries_of(before) >= most then
    redis.call('HSETNX', why, id, reason)
    redis.call('RPUSH', x, id)
    count(n, name .. '|dead', 1)
  else
    redis.call('RPUSH', c, bell) -- first: a bell without a message does no harm, should the next write fail
    redis.call('RPUSH', r, id)
    if not before then -- it was kept for later, and comes now
      count(n, name .. '|sent', 1)
    end
  end
  redis.call('ZREM', due, member)
end

local function send(member, keys, capacity, ttl, name, entry)
  local list, up = unpack(KEYS, keys + 1, keys + 2)
  if up ~= list and redis.call('EXISTS', up) == 0 then
    forget(member) -- its process is gone
    return
  end
  if redis.call('LLEN', list) >= capacity then
    postpone(member, name)
    return
  end
  forget(member)
  redis.call('RPUSH', list, entry)
  if up ~= list then
    redis.pcall('HINCRBY', up, 'pushed', 1)
  elseif ttl > 0 then
    redis.call('EXPIRE', list, ttl)
  else
    count(n, name .. '|sent', 1)
  end
end

for i = 5 + 4 * queues, #ARGV, 2 do
  local member, queue = ARGV[i], tonumber(ARGV[i + 1])
  local score = redis.call('ZSCORE', due, member)
  if score and tonumber(score) <= now then
    local value = queue > 0 and redis.call('HGET', body, string.sub(member, 2))
    local at = value and string.find(value, ' ', 1, true)
    if not at then -- something else wrote it
      forget(member)
      count(n, 'headrace.due|unreadable', 1)
    else
      local keys, capacity, ttl, name, bell = 4 * queue + 1, unpack(ARGV, 4 * queue + 1, 4 * queue + 4)
      if string.sub(member, 1, 1) == 'a' then
        try_again(member, keys, tonumber(capacity), name, bell)
      else
        send(member, keys, tonumber(capacity), tonumber(ttl), name, string.sub(value, at + 1))
      end
    end
    moved = moved + 1
  end
end
return moved
