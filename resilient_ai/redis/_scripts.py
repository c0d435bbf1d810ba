"""
What the scripts on the server have in common. All keys are declared, every key expires, and only the server's clock
is read.

A fact is stored as `until ms|error type|worker|confirmed`. A script that fails half-way keeps what it wrote, so each
publishes last: a lost message is noticed by `ver`, which goes up with every change.
"""

from __future__ import annotations

from hashlib import sha1

_DAY = 86_400_000

_COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function nothing() end
local function fact_of(value)
  local till, kind, by, confirmed = string.match(value or '', '^(%d+)|([%w_]+)|(%w+)|([01])$')
  if not till or tonumber(till) <= now then return nil end
  return {till = tonumber(till), kind = kind, by = by, confirmed = tonumber(confirmed)}
end
"""

# KEYS: facts, ver, workers, states, asks. ARGV: worker, life ms, ver seen, leaving.
# Returns workers, ver, the server's ms, and if ver is new: facts, states (as stored) and open questions.
_SYNC = """
if ARGV[4] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {0, 0, now, {}, {}, {}}
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local workers, ver = redis.call('ZCARD', KEYS[3]), tonumber(redis.call('GET', KEYS[2]) or '0')
if ver == tonumber(ARGV[3]) then return {workers, ver, now, {}, {}, {}} end
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 2, #all, 2 do
  local fact = fact_of(all[i])
  if fact then
    found[#found + 1] = {all[i - 1], fact.kind, fact.till - now, fact.by, fact.confirmed}
  else
    redis.call('HDEL', KEYS[1], all[i - 1])
  end
end
local states, kept = redis.call('HGETALL', KEYS[4]), {}
for i = 2, #states, 2 do
  local till, since = string.match(states[i], '^%d+|[oc]|(%d+)|%w*|%d+|(%d+)|')
  if till and now < math.max(tonumber(till), tonumber(since)) + 600000 then
    kept[#kept + 1] = states[i - 1]
    kept[#kept + 1] = states[i]
  else
    redis.call('HDEL', KEYS[4], states[i - 1])
  end
end
return {workers, ver, now, found, kept, redis.call('HGETALL', KEYS[5])}
"""

# KEYS: facts, ver. ARGV: channel, key, worker, error type or '' if it is over, ms alone, ms confirmed, a day.
_FACT = """
local old = fact_of(redis.call('HGET', KEYS[1], ARGV[2]))
local kind, till, confirmed = ARGV[4], 0, 0
if kind == '' then
  if redis.call('HDEL', KEYS[1], ARGV[2]) == 0 or not old then return 0 end
else
  local same = old and old.kind == kind
  if same and (old.confirmed == 1 or old.by ~= ARGV[3]) then confirmed = 1 end
  till = now + tonumber(confirmed == 1 and ARGV[6] or ARGV[5])
  if same and old.till > till then till = old.till end
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%d|%s|%s|%d', till, kind, ARGV[3], confirmed))
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
local ver = redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
local left = math.max(0, till - now)
PUBLISH(ARGV[1], cjson.encode({k = ARGV[2], f = kind, r = left, c = confirmed, by = ARGV[3]}))
return ver
"""

_HELLO = """
PUBLISH(ARGV[1], cjson.encode({hi = ARGV[2]}))
return 1
"""


class Script:
    """
    A script and its digest.

    Attributes:
        text: The text that the server runs.
        digest: The hash by which the server knows it.
    """

    __slots__ = ("digest", "text")

    def __init__(self, body: str, *, push: bool) -> None:
        publish = "redis.call('PUBLISH', " if push else "nothing("
        self.text = _COMMON + body.replace("PUBLISH(", publish)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


SYNC = Script(_SYNC, push=False)
FACT = {push: Script(_FACT, push=push) for push in (True, False)}
HELLO = Script(_HELLO, push=True)
DAY = _DAY


def millis(seconds: float) -> int:
    """Return whole milliseconds, as the scripts count them; 0 for a time that is over."""
    return max(0, int(seconds * 1000))
