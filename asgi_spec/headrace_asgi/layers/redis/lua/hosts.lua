#!lua flags=allow-oom
-- Say which hosts make up a layer, and learn what others say who use this Redis for a layer of the same prefix.
--
-- KEYS  hosts: lists of hosts, scored by when a process said so
-- ARGV  this process's list, or '' for one that says nothing; ms for which a word counts
-- Answer: the lists that count

local hosts, counts_ms = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(counts_ms))
if hosts ~= '' then
  redis.call('ZADD', KEYS[1], now, hosts)
  redis.call('PEXPIRE', KEYS[1], counts_ms)
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
