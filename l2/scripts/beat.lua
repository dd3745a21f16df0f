-- Heartbeat: a write, because a demoted or isolated master answers reads.
--
-- KEYS[1] record  KEYS[2] log  KEYS[3] the instance's own key
-- ARGV[1] epoch to begin if need be: 16 random hexadecimal digits
-- ARGV[2] channel  ARGV[3] length that the log is trimmed to
-- ARGV[4] epoch known to the instance, or -   ARGV[5] newest seq known in it
-- ARGV[6] life of the instance's key in milliseconds
--
-- Begins a new epoch when the record is missing, when the server's replication
-- id is not the one that the epoch began on, and when seq has gone back.
-- Returns {record, server time in microseconds}.
-- Deleting first lets the rest pass on a server that is out of memory: Redis
-- refuses a script only until its first write.
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[3], '1', 'PX', ARGV[6])
local r = load(KEYS[1])
local id, known = replid(), tonumber(ARGV[5])
if not r or r.id ~= id or (r.epoch == ARGV[4] and r.seq < known) then
  r = begin(r, ARGV[1], known)
  redis.call('DEL', KEYS[2])
  save(KEYS[1], r)
  announce(KEYS[2], ARGV[2], ARGV[3], r, 0, 'e', '')
end
return { text(r), whole(micros()) }
