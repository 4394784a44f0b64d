#!lua flags=allow-oom
-- Put entries on the queue of one process, in order. Control entries ignore the capacity, but not those marked as
-- counted (group messages). Behind a refused entry every further message is refused too, so that what a client
-- receives has no gap in the middle. Allowed when memory is out: the reader takes at once, which makes room. As
-- push_spare the same script is refused then; group messages and what makes a process remember more go that way.
--
-- KEYS  q: the queue  up: the process lives here
-- ARGV  capacity, the note that tells a process that it is unknown, entries...
-- Answer: how many entries that are messages were put there, or -1 (GONE) if there is no such process.

if redis.call('EXISTS', KEYS[2]) == 0 then
  -- Either it ended, or Redis lost its data and it waits for this very list. Nobody else would ever take the note.
  if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('RPUSH', KEYS[1], ARGV[2])
    redis.call('EXPIRE', KEYS[1], 10)
  end
  return -1
end
local CONTROL, COUNTED = 0x10, 0x40
local room = tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1])
local pushed, messages = 0, 0
if #ARGV > 2 and room >= #ARGV - 2 and #ARGV < 7000 then -- all fit, as usual; Lua unpacks no more than some 8,000 values
  for i = 3, #ARGV do
    if bit.band(string.byte(ARGV[i], 2), CONTROL + COUNTED) ~= CONTROL then
      messages = messages + 1
    end
  end
  redis.call('RPUSH', KEYS[1], unpack(ARGV, 3))
  redis.pcall('HINCRBY', KEYS[2], 'pushed', #ARGV - 2)
  return messages
end
for i = 3, #ARGV do
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
  redis.pcall('HINCRBY', KEYS[2], 'pushed', pushed)
end
return messages
