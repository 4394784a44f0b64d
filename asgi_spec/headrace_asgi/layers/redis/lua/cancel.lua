#!lua flags=allow-oom
-- Take back a message that is not due yet. One that is to be acknowledged may be here for a further try: too late.
--
-- KEYS  due  body: see _due  tries: see _tries
-- ARGV  id
-- Answer: 1 taken back, 0 it was moved, or never here

local id = ARGV[1]
if redis.call('ZREM', KEYS[1], 'd' .. id) == 0 then
  if redis.call('HEXISTS', KEYS[3], id) == 1 or redis.call('ZREM', KEYS[1], 'a' .. id) == 0 then
    return 0
  end
end
redis.call('HDEL', KEYS[2], id)
return 1
