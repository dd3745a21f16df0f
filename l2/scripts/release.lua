-- Release: a load that will not fill gives its lease or claim back.
--
-- KEYS[1] value
-- ARGV[1] token of the lease or claim  ARGV[2] epoch that it was taken in
-- ARGV[3] channel                      ARGV[4] body of the wake-up
-- ARGV[5] milliseconds for which nobody is to claim the value again, or 0
--
-- Returns 1 if it was still there, 0 if not.
local how, waited = holds(KEYS[1], ARGV[1])
if not how then return 0 end
if how == 'lease' then
  redis.call('DEL', KEYS[1])
elseif ARGV[5] == '0' then
  redis.call('SETRANGE', KEYS[1], 4, UNCLAIMED)
else
  claim(KEYS[1], 'B', ARGV[1], micros() / 1000 + ARGV[5])
end
if waited then wake(ARGV[3], ARGV[2], ARGV[4]) end
return 1
