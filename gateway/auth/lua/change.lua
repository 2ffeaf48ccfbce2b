-- Makes a change of keys and tenants as a whole or not at all, notes it, and tells every replica.
--
-- KEYS  1 keys: hash of id -> JSON    2 tenants: hash of id -> JSON
--       3 changes: stream of (kind, id), read by every replica    4 audit: list of JSON, newest first
-- ARGV  1 audit entry, JSON    2 audit entries kept    3 changes kept, about    4 records kept per hash
--       then five for each part of the change:
--       kind ("key", "tenant", "config"), id, action ("put", "delete", "keep", "tell"), version expected, record (JSON)
-- Returns 1 done; 0 a record is not of the version expected (0: must not exist); -1 a hash is full.
local hashes = {key = KEYS[1], tenant = KEYS[2]}

for at = 5, #ARGV, 5 do
  local hash = hashes[ARGV[at]]
  if ARGV[at + 2] ~= "tell" then
    local present = redis.call("HGET", hash, ARGV[at + 1])
    local version = present and cjson.decode(present).version or 0
    if version ~= tonumber(ARGV[at + 3]) then
      return 0
    end
    if version == 0 and ARGV[at + 2] == "put" and redis.call("HLEN", hash) >= tonumber(ARGV[4]) then
      return -1
    end
  end
end

for at = 5, #ARGV, 5 do
  local kind, id, action = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if action == "put" then
    redis.call("HSET", hashes[kind], id, ARGV[at + 4])
  elseif action == "delete" then
    redis.call("HDEL", hashes[kind], id)
  end
  if action ~= "keep" then
    redis.call("XADD", KEYS[3], "MAXLEN", "~", ARGV[3], "*", "kind", kind, "id", id)
  end
end

redis.call("LPUSH", KEYS[4], ARGV[1])
redis.call("LTRIM", KEYS[4], 0, tonumber(ARGV[2]) - 1)
return 1
