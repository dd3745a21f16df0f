-- Invalidate, set, expire or clear: mint, delete or write, log and publish as one.
--
-- KEYS[1] record   KEYS[2] log   KEYS[3..] values, or markers of tags (none for a clear)
-- ARGV[1] epoch to begin if need be: 16 random hexadecimal digits
-- ARGV[2] channel  ARGV[3] length that the log is trimmed to
-- ARGV[4] op: i, s, x, t or c    ARGV[5] body: the keys or tags as netstrings
-- and for s only:
-- ARGV[6] epoch that the envelopes name
-- ARGV[7] server time in microseconds after which the set is late
-- ARGV[8..] for each value its envelope, and its life in milliseconds
--
-- Returns {record, op}. A set that arrives late, or in another
-- epoch, only deletes: its caller has given up, and others may have written.
--
-- Begins a new epoch when the record is missing, and when the server is not the one that
-- the epoch began on. That cannot be left to the next heartbeat: while a slot of a
-- cluster moves, a read may get a value where it was, and the record where it has moved
-- to. After a change there, the record must not vouch for the value.
local r = load(KEYS[1])
if not r or r.id ~= replid() then r = begin(r, ARGV[1], 0) end
local prev, op = r.seq, ARGV[4]
mint(r)
-- A write that changes nothing and needs no memory: Redis refuses a script that is
-- out of memory only until its first write. A set must be refused.
if op ~= 's' then redis.call('PERSIST', KEYS[2]) end
if op == 's' and (r.epoch ~= ARGV[6] or micros() > tonumber(ARGV[7])) then op = 'i' end
if op == 'c' then r.cleared = r.seq end
for i = 3, #KEYS do
  if op == 's' then
    redis.call('SET', KEYS[i], ARGV[2 * i + 2], 'PX', ARGV[2 * i + 3])
  elseif op == 't' then
    r.tagged = r.seq
    redis.call('SET', KEYS[i], whole(r.seq), 'PX', whole(r.life))
  elseif op == 'x' and redis.pcall('GETRANGE', KEYS[i], 0, 2) == ENVELOPE then
    -- The claim goes too: what is being loaded may be from before.
    redis.call('SETRANGE', KEYS[i], 3, 'X' .. UNCLAIMED)
  else
    redis.call('UNLINK', KEYS[i])
  end
end
save(KEYS[1], r)
announce(KEYS[2], ARGV[2], ARGV[3], r, prev, op, ARGV[5])
return { text(r), op }
