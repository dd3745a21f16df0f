-- Fill: replace a lease, or the value that a claim is on, by what was loaded.
--
-- KEYS[1] value  KEYS[2] record
-- ARGV[1] token of the lease or claim  ARGV[2] epoch that it was taken in
-- ARGV[3] envelope, or only its header if the claimed value is still current
-- ARGV[4] its life in milliseconds
-- ARGV[5] channel   ARGV[6] body of the wake-up
-- ARGV[7] 1 if ARGV[3] is only a header
--
-- Needs positive evidence: this very token, in this very epoch, on the server
-- that the epoch began on. A failover can resurrect a lease together with the
-- record of its epoch, but not the replication id.
-- Returns 1 if the value was kept, 0 if not.
local how, waited = holds(KEYS[1], ARGV[1])
if not how then return 0 end
local r = load(KEYS[2])
local kept = 0
if not r or r.epoch ~= ARGV[2] or r.id ~= replid() then
  redis.call('DEL', KEYS[1])
elseif ARGV[7] == '0' then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  kept = 1
elseif how == 'claim' then
  redis.call('SETRANGE', KEYS[1], 0, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  kept = 1
end
if waited then wake(ARGV[5], ARGV[2], ARGV[6]) end
return kept
