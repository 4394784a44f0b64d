#!lua flags=allow-oom
-- Messages of an acknowledged channel are done.
--
-- KEYS  due  body: see _due  tries: see _tries  why: id -> why it failed
--       r: ids that wait  c: the channel's list  n: counters  then fin of each id
-- ARGV  ms for which they are remembered, bell, name to count under, then id and number of the claim of each
-- Answer: of each 1 done, -4 STALE

local remembered_ms, bell, name = unpack(ARGV, 1, 3)
local due, body, tries, why, r, c, n = unpack(KEYS, 1, 7)
local answers, done, claims = {}, {}, {}
for k = 1, #KEYS - 7 do
  local id, attempt = ARGV[2 * k + 2], ARGV[2 * k + 3]
  if is_stale(due, tries, id, attempt) then
    answers[k] = -4
  else
    answers[k] = 1
    done[#done + 1], claims[#claims + 1] = id, 'a' .. id
    redis.call('SET', KEYS[7 + k], 1, 'PX', remembered_ms)
  end
end
if #done > 0 then
  redis.call('ZREM', due, unpack(claims))
  redis.call('HDEL', body, unpack(done))
  redis.call('HDEL', tries, unpack(done))
  redis.call('HDEL', why, unpack(done))
  count(n, name .. '|done', #done)
  ring(r, c, bell)
end
return answers
