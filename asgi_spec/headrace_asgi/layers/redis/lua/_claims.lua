-- Shared by the scripts of whoever has claimed a message of an acknowledged channel.

-- Whether somebody else has the message by now, or may have it: whoever comes late changes nothing.
local function is_stale(due, tries, id, attempt)
  return redis.call('HGET', tries, id) ~= attempt or not redis.call('ZSCORE', due, 'a' .. id)
end

-- A worker that was killed may have taken bells along. One more than there is work for does no harm.
local function ring(r, c, bell)
  if redis.call('LLEN', r) > 0 and redis.call('LLEN', c) == 0 then
    redis.call('RPUSH', c, bell)
  end
end
