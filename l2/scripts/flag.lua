-- Flag: ask the holder of a lease or claim to publish a wake-up when it ends.
--
-- KEYS[1] value
-- ARGV[1] token of the lease or claim
--
-- Returns 1 if it is there and flagged now, 0 if it has ended.
local how = holds(KEYS[1], ARGV[1])
if not how then return 0 end
redis.call('SETRANGE', KEYS[1], how == 'lease' and 0 or 4, 'W')
return 1
