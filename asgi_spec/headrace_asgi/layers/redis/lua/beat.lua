#!lua flags=allow-oom
-- One heartbeat of a process. Observers see the counter move; nobody compares clocks. Allowed when memory is out: a
-- full Redis must not make a process look dead.
--
-- KEYS  procs: processes  beat: their counters  fenced: set if this process was declared dead  flush: number of flushes
--       up: the process lives here  takers: channels that workers take, scored by when they last said so
-- ARGV  process, ms for which a taker's word counts
-- Answer: 1 alive, -5 FENCED, -6 UNKNOWN (Redis lost its data) or -7 UNMARKED (only `up` is gone);  the Redis clock in
--         ms;  the number of flushes;  the channels that workers take

local process, counts_ms = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local status = 1
if redis.call('HEXISTS', KEYS[1], process) == 0 then
  status = redis.call('EXISTS', KEYS[3]) == 1 and -5 or -6
elseif redis.call('EXISTS', KEYS[5]) == 0 then
  status = -7
else
  count(KEYS[2], process, 1)
end
-- Neither is worth a heartbeat, should something else have written there.
local taken = redis.pcall('ZRANGEBYSCORE', KEYS[6], now - tonumber(counts_ms), '+inf')
return { status, now, tonumber(redis.pcall('GET', KEYS[4])) or 0, taken.err and {} or taken }
