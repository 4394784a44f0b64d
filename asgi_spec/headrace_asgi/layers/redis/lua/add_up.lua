#!lua flags=allow-oom
-- Add what a process has counted. It may be repeated: who said the same before adds nothing.
--
-- KEYS  n: counters  tally: number of the last batch of this process
-- ARGV  number of this batch, seconds for which that is remembered, then fields with their amounts
-- Answer: 1 added, 0 it was before

local number = redis.pcall('GET', KEYS[2])
if number == ARGV[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  count(KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return 1
