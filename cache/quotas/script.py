"""What Redis does for quotas, in one script for each tenant and round trip, and one for all.

    pelton:q1:epoch                   hash: `id` names the data; `broken`: when somebody last said that not all is told
    pelton:q1:{<tenant>}:<slot>       hash: requests `r` and tokens `t` of all workers, and `r:<worker>`, `t:<worker>`
    pelton:q1:{<tenant>}:running      sorted set: the reservations of requests that run, by when they expire
    pelton:q1:{<tenant>}:of:<id>      hash: a reservation's `worker`, `slot` and `tokens`

A worker says what it has used in each slot in full and not by how much more: said twice it changes nothing, and a Redis
that lost its data learns it anew. A reservation is named by its request, so that the worker which answers the request
of a dead one takes over what that had reserved, and nothing is charged twice.
"""

EPOCH_KEY = "pelton:q1:epoch"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

EPOCH = (
    _NOW
    + """
local mint, known, marks, keep_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local id, broken = unpack(redis.call('HMGET', KEYS[1], 'id', 'broken'))
if not id then
    id = mint
    redis.call('HSET', KEYS[1], 'id', id)
end
if marks == '1' or (known ~= '' and known ~= id) then
    broken = now
    redis.call('HSET', KEYS[1], 'broken', string.format('%.0f', now))
end
redis.call('PEXPIRE', KEYS[1], keep_ms)
return cjson.encode({now = now, id = id, ago = broken and now - broken or cjson.null})
"""
)
"""One key: `EPOCH_KEY`. Arguments: the name for data that have none, the name that this worker knows or nothing, 1 to
mark them as broken, and how long to keep this (ms). Answers JSON: Redis's time, the data's name, and how long ago (ms)
they were marked as broken."""

BODY = """
local ask, base = cjson.decode(ARGV[1]), KEYS[1]
local worker, width, running = ask.worker, ask.window_ms / ask.slots, base .. ':running'
local keep_ms = 2 * ask.window_ms

local function slot_key(slot) return string.format('%s:%d', base, slot) end

local function charge(slot, who, requests, tokens)
    local key = slot_key(slot)
    for field, amount in pairs({r = requests, t = tokens}) do
        redis.call('HINCRBY', key, field, amount)
        redis.call('HINCRBY', key, field .. ':' .. who, amount)
    end
    redis.call('PEXPIRE', key, keep_ms)
end

local function hold(id, slot, tokens)
    local key = base .. ':of:' .. id
    redis.call('HSET', key, 'worker', worker, 'slot', slot, 'tokens', tokens)
    redis.call('PEXPIRE', key, keep_ms + ask.running_ms)
    redis.call('ZADD', running, now + ask.running_ms, id)
    redis.call('PEXPIRE', running, keep_ms + ask.running_ms)
end

local function let_go(id)
    redis.call('ZREM', running, id)
    redis.call('DEL', base .. ':of:' .. id)
end

for _, used in ipairs(ask.used) do
    local known = redis.call('HMGET', slot_key(used[1]), 'r:' .. worker, 't:' .. worker)
    charge(used[1], worker, used[2] - (known[1] or 0), used[3] - (known[2] or 0))
end
for _, id in ipairs(ask.ended) do
    local holder = redis.call('HGET', base .. ':of:' .. id, 'worker')
    if not holder or holder == worker then let_go(id) end
end
for _, each in ipairs(ask.running) do
    local holder = redis.call('HGET', base .. ':of:' .. each[1], 'worker')
    if not holder or holder == worker then hold(each[1], each[2], each[3]) end
end
redis.call('ZREMRANGEBYSCORE', running, '-inf', now)

local first, last = math.floor((now - ask.window_ms) / width), math.floor(now / width)
local function totals()
    local found = {}
    for slot = first, last do
        local used = redis.call('HMGET', slot_key(slot), 'r', 't')
        if used[1] then found[#found + 1] = {slot, tonumber(used[1]), tonumber(used[2])} end
    end
    return found
end

local function wait_ms(found, field, limit, amount)
    if limit < 0 then return 0 end
    local surplus = amount - limit
    for _, used in ipairs(found) do surplus = surplus + used[field] end
    if surplus <= 0 then return 0 end
    for _, used in ipairs(found) do
        surplus = surplus - used[field]
        if surplus <= 0 then return (used[1] + 1) * width + ask.window_ms - now end
    end
    return ask.window_ms
end

local id, broken = unpack(redis.call('HMGET', KEYS[2], 'id', 'broken'))
local is_whole = not broken or now - broken > ask.window_ms + width
if id ~= ask.epoch or not (is_whole or ask.careful) then
    return cjson.encode({now = now, stale = true})
end

local verdicts, shut, found = {}, nil, totals()
for index, each in ipairs(ask.asks) do
    local id, tokens = each[1], each[2]
    local held = redis.call('HMGET', base .. ':of:' .. id, 'worker', 'slot', 'tokens')
    if held[1] then
        if tonumber(held[2]) >= first then charge(tonumber(held[2]), held[1], -1, -tonumber(held[3])) end
        let_go(id)
        found = totals()
    end
    if not (ask.in_order and shut) then
        local wait = math.max(wait_ms(found, 2, ask.limits[1], 1), wait_ms(found, 3, ask.limits[2], tokens))
        local full = ask.limits[3] >= 0 and redis.call('ZCARD', running) >= ask.limits[3]
        if full then wait = math.max(wait, ask.look_ms) end
        shut = wait > 0 and wait or nil
        if not shut then
            charge(last, worker, 1, tokens)
            hold(id, last, tokens)
            if #found == 0 or found[#found][1] < last then found[#found + 1] = {last, 0, 0} end
            found[#found][2], found[#found][3] = found[#found][2] + 1, found[#found][3] + tokens
        end
    end
    verdicts[index] = shut or 0
end
return cjson.encode({now = now, slot = last, verdicts = verdicts, used = found})
"""

SYNC = _NOW + BODY
"""Two keys: the tenant's and `EPOCH_KEY`. One argument: see `cache/quotas/store.py`. Answers JSON: Redis's time, the
slot that was charged, for each request asked for how long it has to wait (milliseconds, 0: it is granted), and what all
have used. `stale`: this worker does not know how it stands with the data, so nothing was granted."""
