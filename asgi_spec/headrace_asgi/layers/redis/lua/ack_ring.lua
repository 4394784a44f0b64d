#!lua flags=allow-oom
-- See to it that who takes, or moves, hears of what waits: bells may be gone with a worker that was killed.
--
-- KEYS  movers: list of their bells  then r and c of each channel
-- ARGV  bell of the movers, or '' if they need not look, then the bell of each channel
-- Answer: how many channels had none

local rung = 0
if ARGV[1] ~= '' and redis.call('LLEN', KEYS[1]) == 0 then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
for k = 2, #ARGV do
  local r, c = KEYS[2 * k - 2], KEYS[2 * k - 1]
  local waiting = redis.call('LLEN', r)
  if waiting > 0 and redis.call('LLEN', c) == 0 then
    for _ = 1, math.min(waiting, 100) do
      redis.call('RPUSH', c, ARGV[k])
    end
    rung = rung + 1
  end
end
return rung
