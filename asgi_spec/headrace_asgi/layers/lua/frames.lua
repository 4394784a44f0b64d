#!lua
-- Send frames of sockets that are not ordered.
--
-- KEYS  s: registry of the process  c: list of frames  n: counters
-- ARGV  capacity, channel name, then pairs of local part and entry
-- Answer: the number of frames if all were sent, else a list with 1 SENT, 0 FULL or -1 GONE for each

local room = tonumber(ARGV[1]) - redis.call('LLEN', KEYS[2])
local answers, entries, shed = {}, {}, 0
for i = 3, #ARGV, 2 do
  local answer = 1
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then
    answer = -1
  elseif #entries >= room then
    answer = 0
    shed = shed + 1
  else
    entries[#entries + 1] = ARGV[i + 1]
  end
  answers[#answers + 1] = answer
end
if #entries > 0 then
  redis.call('RPUSH', KEYS[2], unpack(entries))
  redis.call('HINCRBY', KEYS[3], ARGV[2] .. '|sent', #entries)
end
if shed > 0 then
  redis.call('HINCRBY', KEYS[3], ARGV[2] .. '|shed', shed)
end
if #entries == #answers then
  return #entries
end
return answers
