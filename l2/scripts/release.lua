-- Release: a failed load gives its lease back.
--
-- KEYS[1] value
-- ARGV[1] token of the lease  ARGV[2] epoch that it was taken in
-- ARGV[3] channel             ARGV[4] body of the wake-up
--
-- Returns 1 if the lease was still there, 0 if not.
local held = redis.pcall('GET', KEYS[1])
if held ~= 'L' .. ARGV[1] and held ~= 'W' .. ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if string.sub(held, 1, 1) == 'W' then wake(ARGV[3], ARGV[2], ARGV[4]) end
return 1
