-- Takes one request, its tokens and its leases under every limit, or nothing.
--
-- KEYS: the windows, then the sets of leases.
-- ARGV: number of windows; life of a lease in microseconds; for each window its length in microseconds, its limit and
--       'requests' or 'tokens'; for each set of leases its limit; the request's tokens; the id of its lease.
-- Returns granted (1 or 0), the time, then for each window what is used and for each how many microseconds remain until
--       such a request has room (0: it has; -1: never), then for each set of leases how many are held.
--
-- A window is a hash: b, the newest bucket; n, the sum of what counts; e, when the hash was made; and by the number of
-- its bucket what was counted there. A set of leases is sorted by the time at which they lapse.

local windows, lease_us = tonumber(ARGV[1]), tonumber(ARGV[2])
local tokens, lease = tonumber(ARGV[#ARGV - 1]), ARGV[#ARGV]
local clock = clock_us()
local now = clock
local states = {}

-- The clock may have gone back, after a failover or by hand. By less than a window: go on at the newest moment counted.
-- By more: whatever was counted counts as of now, so that it neither passes the limit nor stays for ever.
for i = 1, windows do
  local length = tonumber(ARGV[3 * i])
  local seen = redis.call('HMGET', KEYS[i], 'b', 'n')
  local state = {
    key = KEYS[i],
    length = length,
    width = length / BUCKETS,
    limit = tonumber(ARGV[3 * i + 1]),
    cost = ARGV[3 * i + 2] == 'tokens' and tokens or 1,
    newest = tonumber(seen[1]),
    used = tonumber(seen[2]) or 0,
  }
  if state.newest then
    local begin = state.newest * state.width
    state.stray = begin > clock + length
    if begin > now and not state.stray then
      now = begin
    end
  end
  states[i] = state
end

local function expire(state)
  redis.call('PEXPIRE', state.key, math.ceil(2 * state.length / 1000))
end

-- Moves a window on to the bucket of now and drops what has left it.
local function advance(state)
  local bucket = math.floor(now / state.width)
  local newest = state.newest
  state.bucket = bucket
  if not newest or newest == bucket then
    return
  end
  if state.stray then
    redis.call('DEL', state.key)
    redis.call('HSET', state.key, 'b', bucket, 'n', state.used, 'e', clock, bucket, state.used)
  elseif bucket - newest > BUCKETS then
    redis.call('DEL', state.key)
    state.newest, state.used = nil, 0
    return
  else
    local left = {}
    for old = newest - BUCKETS, bucket - BUCKETS - 1 do
      left[#left + 1] = old
    end
    for _, count in ipairs(redis.call('HMGET', state.key, unpack(left))) do
      state.used = state.used - (tonumber(count) or 0)
    end
    redis.call('HDEL', state.key, unpack(left))
    redis.call('HSET', state.key, 'b', bucket, 'n', state.used)
  end
  state.newest = bucket
  expire(state)
end

local function wait_us(state)
  local excess = state.used + state.cost - state.limit
  if excess <= 0 then
    return 0
  end
  if state.cost > state.limit then
    return -1
  end
  local buckets = {}
  for bucket = state.bucket - BUCKETS, state.bucket do
    buckets[#buckets + 1] = bucket
  end
  local counts = redis.call('HMGET', state.key, unpack(buckets))
  for i, bucket in ipairs(buckets) do
    excess = excess - (tonumber(counts[i]) or 0)
    if excess <= 0 then
      return (bucket + BUCKETS + 1) * state.width - clock
    end
  end
  return state.length + state.width
end

local granted = true
for _, state in ipairs(states) do
  advance(state)
  state.wait = wait_us(state)
  granted = granted and state.wait == 0
end

local held = {}
for i = windows + 1, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', clock)
  held[i] = redis.call('ZCARD', KEYS[i])
  granted = granted and held[i] < tonumber(ARGV[2 + 3 * windows + i - windows])
end

if granted then
  for _, state in ipairs(states) do
    state.used = state.used + state.cost
    if state.newest then
      redis.call('HINCRBY', state.key, 'n', state.cost)
      redis.call('HINCRBY', state.key, state.bucket, state.cost)
    else
      redis.call('HSET', state.key, 'b', state.bucket, 'n', state.cost, 'e', now, state.bucket, state.cost)
      expire(state)
    end
    state.wait = wait_us(state)
  end
  for i = windows + 1, #KEYS do
    redis.call('ZADD', KEYS[i], clock + lease_us, lease)
    redis.call('PEXPIRE', KEYS[i], math.ceil(2 * lease_us / 1000))
    held[i] = held[i] + 1
  end
end

local reply = {granted and 1 or 0, now}
for _, state in ipairs(states) do
  reply[#reply + 1] = state.used
end
for _, state in ipairs(states) do
  reply[#reply + 1] = state.wait
end
for i = windows + 1, #KEYS do
  reply[#reply + 1] = held[i]
end
return reply
