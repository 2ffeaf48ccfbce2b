-- Notes that a replica lives, or with a life of 0 that it has ended. Returns how many live.
--
-- KEYS: the set of replicas, sorted by the time at which they count as dead. ARGV: life in microseconds; the replica.

local life_us = tonumber(ARGV[1])
local clock = clock_us()
if life_us > 0 then
  redis.call('ZADD', KEYS[1], clock + life_us, ARGV[2])
  redis.call('PEXPIRE', KEYS[1], math.ceil(2 * life_us / 1000))
else
  redis.call('ZREM', KEYS[1], ARGV[2])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', clock)
return redis.call('ZCARD', KEYS[1])
