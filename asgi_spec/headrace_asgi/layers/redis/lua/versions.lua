#!lua flags=allow-oom
-- Say which entries a process reads, and agree on the version that is written. `written` only grows: whoever cannot
-- read it does not start, so what was heard of it earlier may be written always.
--
-- KEYS  versions: hash  written -> the version that may be written  reads:<version> -> when somebody said last that it
--       reads no higher one, in ms
-- ARGV  the highest version that the process reads, the version that it would have written, ms for which a word counts
-- Answer: the version that may be written, the lowest one that a process reads whose word counts

local reads, wanted, counts_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[1]) -- something else wrote it; all of it is said again by and by
end
local written = tonumber(redis.call('HGET', KEYS[1], 'written') or '') or 1
if reads < written then
  return { written, reads } -- it does not count: nobody writes less for who cannot read what lies here
end
redis.call('HSET', KEYS[1], 'reads:' .. reads, now)
local lowest, said = reads, redis.call('HGETALL', KEYS[1])
for i = 1, #said, 2 do
  local version = string.match(said[i], '^reads:(%d+)$')
  if version then
    local at = tonumber(said[i + 1])
    if at and at > now - counts_ms then
      lowest = math.min(lowest, tonumber(version))
    else
      redis.call('HDEL', KEYS[1], said[i])
    end
  end
end
if wanted > written and wanted <= lowest then
  written = wanted
  redis.call('HSET', KEYS[1], 'written', written)
end
return { written, lowest }
