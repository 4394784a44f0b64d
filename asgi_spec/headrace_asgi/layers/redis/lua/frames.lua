#!lua
-- Send frames of sockets that are not ordered; those of one socket in order. They may be repeated: what was accepted
-- before is told by its number. Room only shrinks, so behind a refused frame no later one of its socket is accepted.
--
-- KEYS  f: number of the last message of each socket that was accepted  c: list of frames  n: counters
-- ARGV  capacity, channel name, then triples of local part, order number and entry
-- Answer: the number of frames if all were sent, else a list with 1 SENT, 0 FULL, -1 GONE or -2 DUPLICATE for each;
--         how many messages were ever put on the list;  how many it holds now

local f, c, n = KEYS[1], KEYS[2], KEYS[3]
local capacity, name = tonumber(ARGV[1]), ARGV[2]

-- One frame, as usual when there is little to do, needs no tables. Pushing tells the length: no need to ask before.
if #ARGV == 5 then
  local before = tonumber(redis.call('HGET', f, ARGV[3]))
  if before and tonumber(ARGV[4]) > before then
    local length = redis.call('RPUSH', c, ARGV[5])
    if length <= capacity then
      redis.call('HSET', f, ARGV[3], ARGV[4])
      return { 1, count(n, name .. '|sent', 1), length }
    end
    redis.call('RPOP', c)
  end
end

local answers, sent, length = {}, 0, nil
for first = 3, #ARGV, 3000 do -- a thousand frames at a time: Lua unpacks no more than some 8,000 values
  local locals, entries, numbers, refused = {}, {}, {}, {}
  for i = first, math.min(first + 2997, #ARGV), 3 do
    locals[#locals + 1] = ARGV[i]
  end
  local before = redis.call('HMGET', f, unpack(locals))
  for k = 1, #locals do
    local i = first + 3 * k - 3
    local last = tonumber(before[k]) -- what something else wrote there costs no other socket
    if not last then
      refused[k] = -1
    elseif tonumber(ARGV[i + 1]) <= last then
      refused[k] = -2
    else
      local at = #entries + 1
      entries[at], numbers[2 * at - 1], numbers[2 * at] = ARGV[i + 2], locals[k], ARGV[i + 1]
    end
  end
  local accepted = #entries
  if accepted > 0 then
    length = redis.call('RPUSH', c, unpack(entries))
    if length > capacity then
      local over = math.min(length - capacity, accepted)
      redis.call('RPOP', c, over)
      count(n, name .. '|shed', over)
      accepted, length = accepted - over, length - over
    end
    if accepted > 0 then
      redis.call('HSET', f, unpack(numbers, 1, 2 * accepted))
    end
  end
  if accepted * 3 + 2 == #ARGV then -- all of them, as usual
    return { accepted, count(n, name .. '|sent', accepted), length }
  end
  sent = sent + accepted
  for k = 1, #locals do
    local answer = refused[k] or (accepted > 0 and 1 or 0)
    accepted = refused[k] and accepted or accepted - 1
    answers[#answers + 1] = answer
  end
end
local total = sent > 0 and count(n, name .. '|sent', sent)
  or tonumber(redis.pcall('HGET', n, name .. '|sent')) or 0
return { sent == #answers and sent or answers, total, length or redis.call('LLEN', c) }
