#!lua
-- Put entries on the queue of one process, in order. Control entries ignore the capacity, but not those marked as
-- counted (group messages). Behind a refused entry every further message is refused too, so that what a client
-- receives has no gap in the middle.
--
-- KEYS  q: the queue  up: the process lives here
-- ARGV  capacity, entries...
-- Answer: how many entries that are messages were put there, or -1 (GONE) if there is no such process.

if redis.call('EXISTS', KEYS[2]) == 0 then
  return -1
end
local CONTROL, COUNTED = 0x10, 0x40
local room = tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1])
local pushed, messages = 0, 0
for i = 2, #ARGV do
  local control = bit.band(string.byte(ARGV[i], 2), CONTROL + COUNTED) == CONTROL
  if control or room > 0 then
    redis.call('RPUSH', KEYS[1], ARGV[i])
    pushed = pushed + 1
    if not control then
      room = room - 1
      messages = messages + 1
    end
  else
    room = 0
  end
end
if pushed > 0 then
  redis.call('HINCRBY', KEYS[2], 'pushed', pushed)
end
return messages
