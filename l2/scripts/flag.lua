-- Flag: ask the holder of a lease to publish a wake-up when it ends.
--
-- KEYS[1] value
-- ARGV[1] token of the lease
--
-- Returns 1 if the lease is there and flagged now, 0 if it has ended.
local held = redis.pcall('GET', KEYS[1])
if held == 'W' .. ARGV[1] then return 1 end
if held ~= 'L' .. ARGV[1] then return 0 end
redis.call('SETRANGE', KEYS[1], 0, 'W')
return 1
