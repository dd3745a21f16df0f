-- Drop: replace what cannot be believed by a lease, unless it changed since.
--
-- KEYS[1] value
-- ARGV[1] length that was seen, or -1 if it was no string
-- ARGV[2] its first 64 bytes  ARGV[3] token of the lease, or empty for none
-- ARGV[4] life of the lease in milliseconds
--
-- Returns 1 if it was replaced, 0 if something else is there by now.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then
  if redis.call('STRLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
  if redis.call('GETRANGE', KEYS[1], 0, 63) ~= ARGV[2] then return 0 end
elseif kind ~= 'none' and ARGV[1] ~= '-1' then
  return 0
end
redis.call('UNLINK', KEYS[1])
if ARGV[3] ~= '' then redis.call('SET', KEYS[1], 'L' .. ARGV[3], 'PX', ARGV[4]) end
return 1
