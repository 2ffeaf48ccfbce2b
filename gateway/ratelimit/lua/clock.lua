-- Begins every script. Redis' own clock in microseconds: no caller's clock ever counts.
local function clock_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A window is cut into as many buckets. What counts is the newest bucket and the 60 before it.
local BUCKETS = 60
