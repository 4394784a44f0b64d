#!lua flags=allow-oom
-- End the messages in flight of sockets: of each the next one in its mailbox goes out, or all of them (drain: the
-- socket is not ordered). The order number is the fence: whoever comes late changes nothing. A registered socket
-- without a next one keeps the mark 'done', which tells it from one whose message was lost.
--
-- KEYS  w  n: see _mailbox  then the lists, in the order of their numbers
--       then of each socket s: registry of its process  o  m: see _mailbox
-- ARGV  lease in ms, number of lists, then of each its name, local part, order number, '1' to drain
-- Answer: of each 1 done, -4 STALE, or nothing where something else wrote (alone it is an error)

local lease_ms, w, n = ARGV[1], KEYS[1], KEYS[2]
local lists = { unpack(KEYS, 3, 2 + ARGV[2]) }

-- What is drained loses its token: nothing waits behind it, so it may be given back or start late as any other.
local function plain(boxed)
  local entry = fresh(boxed, lease_ms)
  local head = string.char(string.byte(entry), bit.band(string.byte(entry, 2), 0xFE))
  return head .. string.sub(entry, 3, 10) .. string.sub(entry, 15)
end

local function finish(socket, id, order, drain, s, o, m)
  if redis.call('GET', o) ~= order then
    return -4
  end
  if drain == '1' then
    for _, boxed in ipairs(redis.call('LRANGE', m, 0, -1)) do
      local list = list_of(boxed, lists)
      if list then
        redis.call('RPUSH', list, plain(boxed))
        count_sent(n, w, list)
      else
        count(n, 'mailbox|unreadable', 1)
      end
    end
    redis.call('DEL', m)
    redis.call('ZREM', w, socket)
  elseif move(socket, o, m, w, n, lists, lease_ms) then
    return 1
  end
  if redis.call('HEXISTS', s, id) == 0 then
    redis.call('DEL', o)
  elseif drain == '1' then
    -- A frame may be on its way that was sent before the process knew: it is no loss. Later ones ask nothing of `o`.
    redis.call('SET', o, 'done', 'PX', lease_ms)
  else
    redis.call('SET', o, 'done')
  end
  return 1
end

-- Those of sockets behind which nothing waits, as most are, all at once: each call costs more than what it does.
local function finish_at_once(answers)
  local slots, boxes, first = {}, {}, #lists + 2
  for k = 1, (#ARGV - 2) / 4 do
    slots[k], boxes[k] = KEYS[first + 3 * k - 1], KEYS[first + 3 * k]
  end
  if redis.call('EXISTS', unpack(boxes)) > 0 then
    return
  end
  local marks = {}
  for k, flying in ipairs(redis.call('MGET', unpack(slots))) do
    local id, order, drain = unpack(ARGV, 4 * k, 4 * k + 2)
    if flying == order and drain == '0' and redis.pcall('HEXISTS', KEYS[first + 3 * k - 2], id) == 1 then
      answers[k] = 1
      marks[#marks + 1], marks[#marks + 2] = slots[k], 'done'
    end
  end
  if #marks > 0 then
    redis.call('MSET', unpack(marks))
  end
end

local answers = {}
if #ARGV > 6 then
  finish_at_once(answers)
end
return each(answers, 2, 4, #lists + 2, 3, finish)
