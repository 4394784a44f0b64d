-- Shared by the scripts that look at `tries`: how often a message was tried, and a ROUND for each time that it was given
-- back or replayed, so that the number of a claim never comes back.
local ROUND = 1048576

local function tries_of(number)
  return (tonumber(number or '') or 0) % ROUND
end
