-- Replaces what a reservation took by what was used, in the bucket where it was taken, and gives its leases back.
--
-- KEYS: the windows, then the sets of leases.
-- ARGV: number of windows; for each window its length in microseconds and 'requests' or 'tokens'; when the reservation
--       was made, by Redis' clock; how many requests and how many tokens to add, both may be negative; its lease.
--
-- Nothing is added where the bucket has left the window, and where the window was made after the reservation: then what
-- was reserved is lost, and taking from it would take from others.

local windows = tonumber(ARGV[1])
local at, lease = tonumber(ARGV[#ARGV - 3]), ARGV[#ARGV]

for i = 1, windows do
  local amount = ARGV[2 * i + 1] == 'tokens' and tonumber(ARGV[#ARGV - 1]) or tonumber(ARGV[#ARGV - 2])
  local seen = redis.call('HMGET', KEYS[i], 'b', 'e')
  local newest, made = tonumber(seen[1]), tonumber(seen[2])
  if amount ~= 0 and newest and made <= at then
    -- Later than the newest: the clock has gone back, and what was counted was moved to the newest.
    local bucket = math.min(math.floor(at / (tonumber(ARGV[2 * i]) / BUCKETS)), newest)
    if bucket >= newest - BUCKETS then
      redis.call('HINCRBY', KEYS[i], bucket, amount)
      redis.call('HINCRBY', KEYS[i], 'n', amount)
    end
  end
end

for i = windows + 1, #KEYS do
  redis.call('ZREM', KEYS[i], lease)
end
return 1
