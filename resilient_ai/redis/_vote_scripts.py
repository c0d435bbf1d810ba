"""
How workers decide together on the server: in one step, by the worker that completes the quorum.

A state is stored as `epoch|o or c|until ms|decided question|failed probes|since ms|failed|calls|bad|active`. Its epoch
is at least the server's time, so that it goes up even if the server has lost its data. At most one question is open
for each state: `ask id|share in thousandths|period ms|epoch of the asker|noes|failures reported`. After a no it is
`no failures reported|noes in a row|not before ms`.
"""

from __future__ import annotations

from ._scripts import Script

CIRCUIT = """
local function circuit_of(value)
  local e, s, u, q, n, at, f, c, b, a = string.match(value or '',
    '^(%d+)|([oc])|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if not e or tonumber(e) > now + 60000 then return {e=0, s='c', u=0, q=0, n=0, at=0, f=0, c=0, b=0, a=0} end
  return {e=tonumber(e), s=s, u=tonumber(u), q=tonumber(q), n=tonumber(n), at=tonumber(at),
    f=tonumber(f), c=tonumber(c), b=tonumber(b), a=tonumber(a)}
end
local function row_of(key, x)
  return {key, x.e, x.s, math.max(0, x.u - now), x.n, x.q, x.f, x.c, x.b, x.a}
end
"""

_STORE = """
local function store(key, x, day)
  redis.call('HSET', KEYS[1], key, string.format('%d|%s|%d|%d|%d|%d|%d|%d|%d|%d',
    x.e, x.s, x.u, x.q, x.n, x.at, x.f, x.c, x.b, x.a))
  redis.call('PEXPIRE', KEYS[1], day)
  redis.call('INCR', KEYS[2])
  redis.call('PEXPIRE', KEYS[2], day)
  PUBLISH(ARGV[1], cjson.encode({k=key, e=x.e, s=x.s, r=math.max(0, x.u - now), n=x.n, q=x.q,
    f=x.f, c=x.c, b=x.b, a=x.a}))
end
"""

# `mine` reads six counts. Four fifths of the workers decide, half of them after `wait` ms, and after twice that workers
# that have not answered are not counted.
_DECIDE = """
local function numbers(text)
  local found = {}
  for each in string.gmatch(text, '%d+') do found[#found + 1] = tonumber(each) end
  return found
end
local function mine(first)
  return table.concat({ARGV[first], ARGV[first+1], ARGV[first+2], ARGV[first+3], ARGV[first+4], ARGV[first+5]}, ' ')
end
local function question_of(value)
  local id, share, period, epoch, noes, f = string.match(value or '', '^ask (%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if not id then return nil end
  return {id=id, share=tonumber(share), period=tonumber(period), epoch=tonumber(epoch), noes=tonumber(noes),
    f=tonumber(f)}
end
local function decide(key, q, wait, known, day)
  local all, answers, here = redis.call('HGETALL', KEYS[6]), {}, 0
  for i = 2, #all, 2 do
    local id, counts = string.match(all[i], '^(%d+) (.*)$')
    local found = id == q.id and numbers(counts) or {}
    if #found == 6 then here = here + 1; answers[all[i-1]] = found end
  end
  local age, total = now - tonumber(q.id), math.max(redis.call('ZCARD', KEYS[3]), math.ceil(known / 2))
  if here * 10 < total * 8 and age >= 2 * wait then
    for _, each in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
      if not answers[each] then redis.call('ZREM', KEYS[3], each) end
    end
    total = math.max(redis.call('ZCARD', KEYS[3]), math.ceil(known / 2))
  end
  if here * 10 < total * 8 and not (age >= wait and here * 2 >= total) then return {3, total} end
  redis.call('HDEL', KEYS[7], key)
  local c, f, bad, active = {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}
  for _, t in pairs(answers) do
    for j = 1, 3 do
      c[j], f[j] = c[j] + t[2*j-1], f[j] + t[2*j]
      if t[2*j-1] > 0 then
        active[j] = active[j] + 1
        if t[2*j] * 1000 >= t[2*j-1] * q.share then bad[j] = bad[j] + 1 end
      end
    end
  end
  local j = 1
  while j < 3 and c[j] < 20 do j = j + 1 end
  local z, n = 2.58, math.max(1, c[j])
  local p = f[j] / n
  local low = (p + z*z / (2*n) - z * math.sqrt(p * (1-p) / n + z*z / (4*n*n))) / (1 + z*z / n)
  if low * 1000 > q.share and f[j] >= 15 and bad[j] * 2 >= active[j] and bad[j] >= 2 then
    redis.call('DEL', KEYS[5], KEYS[6])
    local x = circuit_of(redis.call('HGET', KEYS[1], key))
    x.e = math.max(x.e + 1, q.epoch + 1, now)
    x.s, x.u, x.q, x.n, x.at = 'o', now + q.period, tonumber(q.id), 0, now
    x.f, x.c, x.b, x.a = f[j], c[j], bad[j], active[j]
    store(key, x, day)
    return {1, row_of(key, x)}
  end
  redis.call('SET', KEYS[5], string.format('no %d|%d|%d', q.f, q.noes + 1, now + 1000), 'PX', 5000)
  return {4, f[j], c[j]}
end
"""

_NEWER = """
redis.call('ZADD', KEYS[3], now, ARGV[3])
local old = circuit_of(redis.call('HGET', KEYS[1], ARGV[2]))
if old.e > tonumber(ARGV[4]) then return {1, row_of(ARGV[2], old)} end
"""

# KEYS: states, ver, workers, reports, question, answers, asks. ARGV: channel, key, worker, epoch, a day, share in
# thousandths, period ms, life of a question in ms, workers known, six counts.
# Returns {0} nothing, {1, row} what holds, {2, question} asked, {3, workers} still too few, {4, failed, calls} no.
_SUSPECT = (
    CIRCUIT
    + _STORE
    + _DECIDE
    + _NEWER
    + """
local life, known = tonumber(ARGV[8]), tonumber(ARGV[9])
redis.call('HSET', KEYS[4], ARGV[3], mine(10) .. string.format(' %d', now))
redis.call('PEXPIRE', KEYS[4], 8000)
local value = redis.call('GET', KEYS[5])
if question_of(value) then return {0} end
local least, share = math.min(3, math.max(redis.call('ZCARD', KEYS[3]), math.ceil(known / 2))), tonumber(ARGV[6])
local c, f, w, span = {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {500, 2000, 8000}
local all = redis.call('HGETALL', KEYS[4])
for i = 2, #all, 2 do
  local t = numbers(all[i])
  for j = 1, 3 do
    if #t == 7 and now - t[7] <= span[j] then
      c[j], f[j] = c[j] + t[2*j-1], f[j] + t[2*j]
      if t[2*j] > 0 then w[j] = w[j] + 1 end
    end
  end
end
local hot = false
for j = 1, 3 do
  if f[j] >= 15 and w[j] >= least and f[j] * 1000 >= c[j] * share then hot = true end
end
if not hot then return {0} end
local before, noes, till = string.match(value or '', '^no (%d+)|(%d+)|(%d+)$')
noes = tonumber(noes or 0)
if before and now < tonumber(till) and (noes >= 3 or f[1] < 1.5 * tonumber(before) + 5) then return {0} end
local id = string.format('%d', now)
local q = {id=id, share=share, period=tonumber(ARGV[7]), epoch=tonumber(ARGV[4]), noes=noes}
redis.call('SET', KEYS[5], string.format('ask %s|%d|%d|%d|%d|%d', id, share, q.period, q.epoch, noes, f[1]), 'PX', life)
redis.call('HSET', KEYS[7], ARGV[2], id)
redis.call('PEXPIRE', KEYS[7], life)
redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('HSET', KEYS[6], ARGV[3], id .. ' ' .. mine(10))
redis.call('PEXPIRE', KEYS[6], 5000)
PUBLISH(ARGV[1], cjson.encode({k=ARGV[2], q=now}))
return {2, now}
"""
)

# KEYS as above. ARGV: channel, key, worker, epoch, a day, question, ms after which half of the workers are enough,
# workers known, six counts.
_ANSWER = (
    CIRCUIT
    + _STORE
    + _DECIDE
    + _NEWER
    + """
local q = question_of(redis.call('GET', KEYS[5]))
if not q or q.id ~= ARGV[6] then return {0} end
redis.call('HSET', KEYS[6], ARGV[3], q.id .. ' ' .. mine(9))
redis.call('PEXPIRE', KEYS[6], 5000)
return decide(ARGV[2], q, tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[5])
"""
)

# KEYS: states, ver. ARGV: channel, key, worker, epoch, a day, o or c, ms until a probe, failed probes.
# Returns {1, row} what already holds, {2, row} done.
_JUDGE = (
    CIRCUIT
    + _STORE
    + """
local x = circuit_of(redis.call('HGET', KEYS[1], ARGV[2]))
if x.e > tonumber(ARGV[4]) then return {1, row_of(ARGV[2], x)} end
x.e = math.max(x.e + 1, tonumber(ARGV[4]) + 1, now)
if x.s ~= ARGV[6] then x.at = now end
x.s, x.u, x.n, x.q = ARGV[6], now + tonumber(ARGV[7]), tonumber(ARGV[8]), 0
store(ARGV[2], x, ARGV[5])
return {2, row_of(ARGV[2], x)}
"""
)

SUSPECT, ANSWER, JUDGE = (
    {push: Script(body, push=push) for push in (True, False)} for body in (_SUSPECT, _ANSWER, _JUDGE)
)
