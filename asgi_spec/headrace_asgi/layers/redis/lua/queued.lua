#!lua flags=allow-oom
-- How much was pushed to a process, and how much of it waits: what it has not read of the rest is lost.
--
-- KEYS  up: the process lives here  q: its queue
-- ARGV  none
-- Answer: entries ever pushed;  entries that wait

return { tonumber(redis.call('HGET', KEYS[1], 'pushed')) or 0, redis.call('LLEN', KEYS[2]) }
