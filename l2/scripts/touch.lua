-- Touch: a value that was asked for lives on.
--
-- KEYS[1] value
-- ARGV[1] its life from now in milliseconds
--
-- Leases keep theirs. Returns 1 if there was a value, 0 if not.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 2)
if head ~= ENVELOPE then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
