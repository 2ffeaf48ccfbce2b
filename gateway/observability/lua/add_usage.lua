-- Adds what one process has counted for one tenant to its buckets, once.
--
-- KEYS  1 minute, 2 hour, 3 day: hashes of "key model counter" -> count
--       4 tenants with usage: sorted set of id -> Unix seconds of the last one
--       5 what the process has added: hash of tenant and part -> number of the last batch
-- ARGV  1..3 seconds that KEYS 1..3 live from now on    4 tenant    5 tenant and part    6 number of the batch
--       7 Unix seconds of the minute    8, 9 seconds that KEYS 4 and 5 live    then pairs of field and amount
-- Returns 1; 0 when the batch was added before.
local last = redis.call("HGET", KEYS[5], ARGV[5])
if last and tonumber(last) >= tonumber(ARGV[6]) then
  return 0
end
redis.call("HSET", KEYS[5], ARGV[5], ARGV[6])
redis.call("EXPIRE", KEYS[5], ARGV[9])
for at = 10, #ARGV, 2 do
  for bucket = 1, 3 do
    redis.call("HINCRBY", KEYS[bucket], ARGV[at], ARGV[at + 1])
  end
end
for bucket = 1, 3 do
  redis.call("EXPIRE", KEYS[bucket], ARGV[bucket])
end
redis.call("ZADD", KEYS[4], ARGV[7], ARGV[4])
redis.call("EXPIRE", KEYS[4], ARGV[8])
return 1
