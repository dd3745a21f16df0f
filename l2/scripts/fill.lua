-- Fill: replace a lease by the value that was loaded under it.
--
-- KEYS[1] value  KEYS[2] record
-- ARGV[1] token of the lease  ARGV[2] epoch that the lease was taken in
-- ARGV[3] envelope  ARGV[4] its life in milliseconds
-- ARGV[5] channel   ARGV[6] body of the wake-up
--
-- Needs positive evidence: this very lease, in this very epoch, on the server
-- that the epoch began on. A failover can resurrect a lease together with the
-- record of its epoch, but not the replication id.
-- Returns 1 if the value was kept, 0 if not.
local held = redis.pcall('GET', KEYS[1])
if held ~= 'L' .. ARGV[1] and held ~= 'W' .. ARGV[1] then return 0 end
local r = load(KEYS[2])
local kept = 0
if r and r.epoch == ARGV[2] and r.id == replid() then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  kept = 1
else
  redis.call('DEL', KEYS[1])
end
if string.sub(held, 1, 1) == 'W' then wake(ARGV[5], ARGV[2], ARGV[6]) end
return kept
