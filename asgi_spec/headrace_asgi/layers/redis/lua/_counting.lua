-- Shared by the scripts that count.
--
-- A counter is not worth a message: where something else wrote over it the counting begins anew, and what was sent
-- before is not refused for it, or it would be sent twice.
local function count(n, field, by)
  local total = redis.pcall('HINCRBY', n, field, by)
  if type(total) == 'number' then
    return total
  end
  redis.pcall('HSET', n, field, by)
  return by
end

