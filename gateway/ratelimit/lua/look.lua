-- Tells what limits have counted, and changes nothing.
--
-- KEYS: the windows, then the sets of leases.
-- ARGV: number of windows; for each window its length in microseconds.
-- Returns for each window what is used and how many microseconds remain until all of that has left it, then for each
--       set of leases how many are held. reserve.lua tells how windows are kept, and about clocks that go back.

local windows = tonumber(ARGV[1])
local clock = clock_us()
local reply = {}

for i = 1, windows do
  local length = tonumber(ARGV[i + 1])
  local width = length / BUCKETS
  local newest = tonumber(redis.call('HGET', KEYS[i], 'b')) or 0
  local used, last = 0, nil
  if newest * width > clock + length then
    used, last = tonumber(redis.call('HGET', KEYS[i], 'n')) or 0, math.floor(clock / width)
  else
    local bucket = math.floor(math.max(clock, newest * width) / width)
    local buckets = {}
    for number = bucket - BUCKETS, bucket do
      buckets[#buckets + 1] = number
    end
    for j, count in ipairs(redis.call('HMGET', KEYS[i], unpack(buckets))) do
      local amount = tonumber(count) or 0
      used = used + amount
      if amount ~= 0 then
        last = buckets[j]
      end
    end
  end
  reply[#reply + 1] = used
  reply[#reply + 1] = last and math.max(0, (last + BUCKETS + 1) * width - clock) or 0
end

for i = windows + 1, #KEYS do
  reply[#reply + 1] = redis.call('ZCOUNT', KEYS[i], string.format('(%.0f', clock), '+inf')
end
return reply
