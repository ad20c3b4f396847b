"""The scripts that Redis runs for the session store: each checks and writes as one.

KEYS[1] is the session's hash, KEYS[2] the partition's fence, for the two that write.
"""

LOAD = """
if redis.call('HSTRLEN', KEYS[1], 'd') > tonumber(ARGV[1]) then return {'too long'} end
return redis.call('HMGET', KEYS[1], 'v', 'd')
"""
# `pcall` for the fence: what is no string is no token of ours, and is overwritten when the fence is raised anew.
# Tokens instead of a counter: Redis may lose its data, and a counter would then give a number out twice.
STORE = """
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return {'fenced'} end
local version = redis.call('HGET', KEYS[1], 'v')
if version == ARGV[2] then
    if redis.call('HSTRLEN', KEYS[1], 'd') > tonumber(ARGV[6]) then return {'too long'} end
    return {'known', redis.call('HGET', KEYS[1], 'd')}
end
if version and version ~= ARGV[3] then return {'moved'} end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'stored'}
"""
WITHDRAW = """
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return {'fenced'} end
if redis.call('HGET', KEYS[1], 'v') ~= ARGV[2] then return {'withdrawn'} end
if ARGV[3] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('HSET', KEYS[1], 'v', ARGV[3], 'd', ARGV[4])
end
return {'withdrawn'}
"""
