-- Prelude of the other scripts: the record of a shard and how it is renewed.
--
-- The record is one string, readable in redis-cli:
--   SEQ EPOCH CLEARED REPLID LIFE TAGGED
-- SEQ      newest sequence number minted in the shard, decimal
-- EPOCH    the shard's life that SEQ belongs to, 16 hexadecimal digits
-- CLEARED  values born below this sequence number were cleared away, decimal
-- REPLID   replication id of the server that the epoch began on, or -
-- LIFE     how long a tag's marker is kept, in milliseconds: no less than any value
--          that names a tag may live
-- TAGGED   sequence number of the newest invalidation of a tag, or of the epoch

-- ENVELOPE is how an envelope begins: the magic and the format version.
local ENVELOPE = '\193\078\001'

-- WEEK is what LIFE begins with.
local WEEK = 604800000

-- micros returns the server's clock; seq is minted from it and no other.
local function micros()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- whole writes a number that may exceed 2^31 without an exponent.
local function whole(n) return string.format('%.0f', n) end

-- replid returns the server's replication id. It changes when a replica is
-- promoted and when a master restarts: whenever writes may have been lost.
local function replid()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '-' end
  return string.match(info, 'master_replid:(%x+)') or '-'
end

-- load returns the record at key, or nil if there is none that can be read.
local function load(key)
  local raw = redis.pcall('GET', key)
  if type(raw) ~= 'string' then return nil end
  local seq, epoch, cleared, id, life, tagged = string.match(raw, '^(%d+) (%x+) (%d+) (%S+) (%d+) (%d+)$')
  if not seq or #seq > 16 or #cleared > 16 or #life > 16 or #tagged > 16 then return nil end
  return { seq = tonumber(seq), epoch = epoch, cleared = tonumber(cleared), id = id,
    life = tonumber(life), tagged = tonumber(tagged) }
end

-- text writes a record as load reads it; replies carry it too.
local function text(r)
  return table.concat({ whole(r.seq), r.epoch, whole(r.cleared), r.id, whole(r.life), whole(r.tagged) }, ' ')
end

local function save(key, r) redis.call('SET', key, text(r)) end

-- mint numbers one change.
local function mint(r) r.seq = math.max(r.seq + 1, micros()) end

-- begin starts a new epoch above every number known so far. What was cleared
-- stays cleared if the old record still says so.
local function begin(old, epoch, above)
  local r = { seq = above, epoch = epoch, cleared = 0, id = replid(), life = WEEK }
  if old then
    r.seq = math.max(r.seq, old.seq)
    r.cleared, r.life = old.cleared, old.life
  end
  mint(r)
  r.tagged = r.seq -- markers may be among what was lost: whoever asks looks them up
  return r
end

-- announce appends a change to the log and publishes it, as
--   1 SEQ PREV EPOCH OP BODY
-- where OP is i (invalidated), s (set), x (expired), t (tags invalidated), c (cleared)
-- or e (epoch begun), and BODY the keys or tags as netstrings. Log and channel carry the same bytes.
local function announce(log, channel, maxlen, r, prev, op, body)
  local m = '1 ' .. whole(r.seq) .. ' ' .. whole(prev) .. ' ' .. r.epoch .. ' ' .. op .. ' ' .. body
  local id = whole(r.seq) .. '-0'
  local added = redis.pcall('XADD', log, 'MAXLEN', '~', maxlen, id, 'm', m)
  if type(added) == 'table' and added.err then
    -- The log is not a stream, or it is ahead of us after data was lost. Without
    -- it readers find a gap, and distrust what they hold.
    redis.call('DEL', log)
    redis.call('XADD', log, id, 'm', m)
  end
  redis.call('PUBLISH', channel, m)
end

-- holds tells how token holds the loading of the value at key: 'lease' in its
-- place, 'claim' inside of its envelope, or nil if it does not; and whether
-- somebody waits for it. codec/envelope.go says where a claim stands.
local function holds(key, token)
  local head = redis.pcall('GETRANGE', key, 0, 33)
  if type(head) ~= 'string' then return nil end
  local kind = string.sub(head, 1, 1)
  if #head == 17 and (kind == 'L' or kind == 'W') and string.sub(head, 2) == token then
    return 'lease', kind == 'W'
  end
  kind = string.sub(head, 5, 5)
  if string.sub(head, 1, 3) == ENVELOPE and (kind == 'L' or kind == 'W') and string.sub(head, 6, 21) == token then
    return 'claim', kind == 'W'
  end
end

-- claim rewrites the claim in the envelope at key, which there must be.
local function claim(key, kind, token, till)
  redis.call('SETRANGE', key, 4, kind .. token .. string.format('%013.0f', till))
end

local UNCLAIMED = '-' .. string.rep('0', 29)

-- wake tells waiters of a key that its lease has ended, as
--   1 0 0 EPOCH w BODY
local function wake(channel, epoch, body)
  redis.call('PUBLISH', channel, '1 0 0 ' .. epoch .. ' w ' .. body)
end
