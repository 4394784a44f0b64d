#!lua flags=allow-oom
-- Register the open sockets of a process again. What Redis still knows stays as it is: its numbers are right, those of
-- the process may be older. What it lost goes on behind the last message that is known.
--
-- KEYS  s: registry of the process  f: numbers of the last messages accepted  then o of each ordered socket
-- ARGV  triples of local part, path and number; first those of the ordered sockets
-- Answer: how many were not known

local s, f = KEYS[1], KEYS[2]
local lost = 0
for i = 1, #ARGV, 3 do
  local id = ARGV[i]
  if redis.call('HSETNX', s, id, ARGV[i + 1]) == 1 then
    redis.call('HSET', f, id, ARGV[i + 2])
    local o = KEYS[(i - 1) / 3 + 3]
    if o then
      redis.call('SET', o, 'done', 'NX')
    end
    lost = lost + 1
  end
end
return lost
