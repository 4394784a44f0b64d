-- Shared by the scripts that do one thing for several sockets.

-- What `act` says of each one that has no answer yet: its arguments stand behind the first `from` of ARGV, so many
-- `wide`, its keys behind the first `from_key` of KEYS. What something else wrote costs no other socket: such a one is
-- answered with nothing, and with the error itself if it is the only one.
local function each(answers, from, wide, from_key, wide_key, act)
  local number = (#ARGV - from) / wide
  for k = 1, number do
    if not answers[k] then
      local given, key = { unpack(ARGV, from + (k - 1) * wide + 1, from + k * wide) }, from_key + (k - 1) * wide_key
      for i = 1, wide_key do
        given[wide + i] = KEYS[key + i]
      end
      if number == 1 then
        answers[1] = act(unpack(given))
      else
        local done, answer = pcall(act, unpack(given))
        answers[k] = done and answer
      end
    end
  end
  return answers
end
