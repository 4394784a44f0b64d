#!lua flags=allow-oom
-- What is due: a script must declare the keys it touches, so who moves it asks first where it belongs.
--
-- KEYS  due  body: see _due
-- ARGV  how many at most
-- Answer: ms until the next is due that is not yet, or -1;  what is due, each with its queue ('' if nobody knows it)

local now = now_ms()
local due = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local value = redis.call('HGET', KEYS[2], string.sub(member, 2))
  due[#due + 1] = member
  due[#due + 1] = value and string.match(value, '^[^ ]+') or ''
end
local following = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return { following[2] and math.max(math.ceil(following[2] - now), 0) or -1, due }
