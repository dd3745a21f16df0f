-- Claim: a lease on the refreshing of a value, which stays where it is.
--
-- KEYS[1] value
-- ARGV[1] token of the claim  ARGV[2] its life in milliseconds
-- ARGV[3] the bytes 34 to 81 of the envelope that was seen
--
-- Returns 1 if the claim is ours now, 0 if somebody has one or the value is
-- another by now.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 81)
if type(head) ~= 'string' or string.sub(head, 1, 3) ~= ENVELOPE or string.sub(head, 35) ~= ARGV[3] then return 0 end
local now = micros() / 1000
if string.sub(head, 5, 5) ~= '-' and (tonumber(string.sub(head, 22, 34)) or 0) > now then return 0 end
claim(KEYS[1], 'L', ARGV[1], now + ARGV[2])
return 1
