#!lua
-- One heartbeat of a process. Observers see the counter move; nobody compares clocks.
--
-- KEYS  procs: processes  beat: their counters  fenced: set if this process was declared dead  flush: number of flushes
-- ARGV  process
-- Answer: 1 alive, -5 FENCED or -6 UNKNOWN (Redis lost its data);  the Redis clock in ms;  the number of flushes

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local flushes = tonumber(redis.call('GET', KEYS[4]) or 0)
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
  return { 1, now, flushes }
end
return { redis.call('EXISTS', KEYS[3]) == 1 and -5 or -6, now, flushes }
