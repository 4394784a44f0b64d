#!lua flags=allow-oom
-- Withdraw a process from a group, if it has seen every add.
--
-- KEYS  g: processes of the group  gq: groups of the process
-- ARGV  process, group, number of adds the process has seen
-- Answer: 1 left, 0 an add is on its way

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[2])
return 1
