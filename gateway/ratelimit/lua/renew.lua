-- Lets leases live on; those that are lost are made again, because their requests are still in flight.
--
-- KEYS: one set of leases. ARGV: their life in microseconds; the leases.

local life_us = tonumber(ARGV[1])
local lapse = clock_us() + life_us
local members = {}
for i = 2, #ARGV do
  members[#members + 1] = lapse
  members[#members + 1] = ARGV[i]
end
redis.call('ZADD', KEYS[1], unpack(members))
redis.call('PEXPIRE', KEYS[1], math.ceil(2 * life_us / 1000))
return #ARGV - 1
