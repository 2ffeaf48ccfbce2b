-- Puts new overrides unless somebody was faster.
--
-- KEYS  1 overrides: JSON with a version
-- ARGV  1 version that they must have now (0: there must be none)    2 the new ones
-- Returns 1 done; 0 they are of another version.
local held = redis.call("GET", KEYS[1])
local version = held and cjson.decode(held).version or 0
if version ~= tonumber(ARGV[1]) then
  return 0
end
redis.call("SET", KEYS[1], ARGV[2])
return 1
