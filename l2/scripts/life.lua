-- Life: from now on markers of tags are kept for longer.
--
-- KEYS[1] record
-- ARGV[1] life in milliseconds
--
-- Returns {record}, or {} if there is none.
local r = load(KEYS[1])
if not r then return {} end
if tonumber(ARGV[1]) > r.life then
  r.life = tonumber(ARGV[1])
  save(KEYS[1], r)
end
return { text(r) }
