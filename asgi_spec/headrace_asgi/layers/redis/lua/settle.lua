#!lua flags=allow-oom
-- Forget messages in flight, but not that the last message of a socket was done.
--
-- KEYS  any number of o: order number in flight
-- ARGV  none
-- Answer: how many were forgotten

local forgotten = 0
for _, o in ipairs(KEYS) do
  if redis.call('GET', o) ~= 'done' then
    forgotten = forgotten + redis.call('DEL', o)
  end
end
return forgotten
