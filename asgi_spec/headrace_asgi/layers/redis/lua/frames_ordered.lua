#!lua
-- Send messages of sockets whose messages start in order: at once if nothing of its socket is in flight, else to the
-- mailbox. It may be repeated: what was accepted before is told by its number. Where a lapsed lease shows that a
-- message was lost, nothing is sent, and every repeat is told so until the process has been told (kick) or the socket
-- ends.
--
-- KEYS  f: numbers of the last messages accepted  w  n: see _mailbox  c: their list  then o and m of each one's socket
-- ARGV  process, number of their list, lease in ms, capacity, mailbox capacity, channel,
--       then local part, order number and entry of each
-- Answer: of each 1 SENT, 2 BOXED, 0 FULL, -1 GONE (reaped or told: close the socket), -2 DUPLICATE, -7 LAPSED, or
--         nothing where something else wrote (alone it is an error);
--         where the list was looked at also how many messages were ever put there, and how many it holds now

local process, list, lease_ms, capacity, box_capacity, name = unpack(ARGV, 1, 6)
local f, w, n, c = unpack(KEYS, 1, 4)
local sent, length = 0, nil

local function send(id, order, entry, o, m)
  local before = tonumber(redis.call('HGET', f, id))
  if not before then
    return -1
  end
  if tonumber(order) <= before then
    return -2
  end
  local flying = redis.call('GET', o)
  if not flying then
    return -7
  end
  -- Pushing tells the length: no need to ask before.
  if flying == 'done' then
    length = redis.call('RPUSH', c, entry)
    if length > tonumber(capacity) then
      redis.call('RPOP', c)
      length = length - 1
      count(n, name .. '|shed', 1)
      return 0
    end
    redis.call('HSET', f, id, order)
    redis.call('SET', o, order, 'PX', lease_ms)
    sent = sent + 1
    return 1
  end
  if redis.call('RPUSH', m, string.char(list) .. entry) > tonumber(box_capacity) then
    redis.call('RPOP', m)
    count(n, name .. '|shed', 1)
    return 0
  end
  redis.call('HSET', f, id, order)
  watch(process .. id, o, m, w)
  return 2
end

-- Those of sockets with nothing in flight, as most are, all at once: each call costs more than what it does.
local function send_at_once(answers)
  local locals, slots = {}, {}
  for k = 1, (#ARGV - 6) / 3 do
    locals[k], slots[k] = ARGV[3 * k + 4], KEYS[2 * k + 3]
  end
  local before, flying = redis.call('HMGET', f, unpack(locals)), redis.call('MGET', unpack(slots))
  local those, entries, numbers, seen = {}, {}, {}, {}
  for k, id in ipairs(locals) do
    local order = ARGV[3 * k + 5]
    if flying[k] == 'done' and not seen[id] and tonumber(order) > (tonumber(before[k]) or math.huge) then
      local at = #those + 1
      those[at], entries[at] = k, ARGV[3 * k + 6]
      numbers[2 * at - 1], numbers[2 * at] = id, order
    end
    seen[id] = true
  end
  if #those == 0 then
    return
  end
  length = redis.call('RPUSH', c, unpack(entries))
  local over = math.min(math.max(length - tonumber(capacity), 0), #those)
  if over > 0 then
    redis.call('RPOP', c, over)
    count(n, name .. '|shed', over)
    length = length - over
  end
  sent = #those - over
  for at, k in ipairs(those) do
    answers[k] = at <= sent and 1 or 0
    if at <= sent then
      redis.call('SET', slots[k], ARGV[3 * k + 5], 'PX', lease_ms)
    end
  end
  if sent > 0 then
    redis.call('HSET', f, unpack(numbers, 1, 2 * sent))
  end
end

local answers = {}
if #ARGV > 9 then
  send_at_once(answers)
end
each(answers, 6, 3, 4, 2, send)
if sent > 0 then
  return { answers, count(n, name .. '|sent', sent), length }
elseif length then
  return { answers, tonumber(redis.pcall('HGET', n, name .. '|sent')) or 0, length }
end
return { answers }
