"""
A quota on the server: levels of requests and tokens, refilled by the server's clock.

A level below 0 is a promise of future units, so that workers that want more than there is are served in the order in
which they come, without asking repeatedly. Values read are limited to their valid range: anyone with write access may
have written them. A quota that the server does not know begins at 0, so that lost data do not allow a second burst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_ai._core.leasing import Grant, Units

from ._scripts import DAY, Script, millis

if TYPE_CHECKING:
    from resilient_ai._core.leasing import Ask

_LONGEST_PAUSE = 60_000  # most ms for which one worker's report stops the others
_AWAY, _RETURNING = 2_000, 10_000  # ms without a question that mean the workers were alone; ms in which all come back
_MOST = 2**53

# KEYS: the quota. ARGV: 1 requests and 2 tokens a minute (0: not limited), 3 burst ms, 4 horizon ms, 5 patience ms,
# then requests and tokens of each: 6 queue, 8 first, 10 ahead, 12 back, 14 used alone, 16 left (-1: unknown);
# 18 share of the rate in thousandths, 19 pause ms (-1: none), 20 longest pause ms, 21 life ms,
# 22 calls a second that come to the worker, 23 workers,
# 24 ms without a question that mean the workers were alone, 25 ms in which they come back.
# Returns requests, tokens, wait ms, factor in thousandths, pause ms, free requests, free tokens.
_TAKE = """
local A = {}
for i = 1, #ARGV do A[i] = tonumber(ARGV[i]) end
local exact = time[1] * 1000 + time[2] / 1000
local known = redis.call('HMGET', KEYS[1], 'r', 't', 'at', 'sc', 'top', 'pause', 'cut', 'demand', 'back')
local function read(i, least, most, default)
  local n = tonumber(known[i] or '')
  if not n or n ~= n then return default end
  return math.max(least, math.min(most, n))
end
local at = read(3, 0, exact, exact)
local sc, top = read(4, 0.1, 1, 1), read(5, 0.1, 1, 1)
local pause, cut = read(6, 0, exact + A[20], 0), read(7, 0, exact, 0)
local demand = read(8, 0, 1e6, 0)
local gained = exact - at - math.max(0, math.min(exact, pause) - at)
if sc < 1 then
  local seconds, near = gained / 1000, 0.97 * top
  if sc < near then
    local fast = math.min(seconds, (near - sc) / 0.01)
    sc, seconds = sc + fast * 0.01, seconds - fast
  end
  sc = math.min(1, sc + seconds * 0.002)
end
if A[19] >= 0 then
  pause = math.max(pause, exact + math.min(A[19], A[20]))
  if exact - cut > 1000 then top, sc, cut = sc, math.max(0.1, sc * 0.9), exact end
end
local share = math.min(sc, math.max(0.05, A[18] / 1000))
local alone = A[14] > 0 or A[15] > 0
local back = read(9, 0, exact, exact)
if alone and exact - at > A[24] then back = exact end
local returning = alone and exact - back < A[25]
local function level(i)
  local whole = A[i]
  if whole == 0 then return 1e12, 1e12 end
  local rate, full = whole / 60000 * share, math.max(1, whole / 60000 * A[3])
  local n = math.min(read(i, -whole, full, 0) + gained * rate, full) + A[11 + i]
  if A[19] >= 0 then n = math.min(n, 0) end
  if A[15 + i] >= 0 then n = math.min(n, A[15 + i]) end
  if returning then
    n = math.min(n, 0) - A[13 + i] * math.min(1, (exact - back) / A[3])
  elseif n > 0 then
    n = math.max(0, n - A[13 + i])
  end
  return math.max(-whole, math.min(n, full)), rate
end
local r, R = level(1)
local t, T = level(2)
local resting = math.max(0, pause - exact)
local function until_there(requests, tokens)
  return math.max(0, (requests - r) / R, (tokens - t) / T) + resting
end
local gr, gt, wait, served = 0, 0, 0, true
if A[6] > 0 or A[7] > 0 then
  local there, a_ms = 1, R
  if A[6] > 0 then there = math.min(there, math.max(0, r) / A[6]) end
  if A[7] > 0 then there = math.min(there, math.max(0, t) / A[7]) end
  if A[6] > 0 and A[7] > 0 then a_ms = math.min(R, T * A[6] / A[7]) elseif A[7] > 0 then a_ms = T end
  demand = demand > 0 and demand + 0.05 * (A[22] - demand) or A[22]
  local fair = a_ms * A[4] / (A[6] > 0 and A[6] or A[7]) / A[23]
  if demand > 0 then fair = fair * A[22] / demand end
  local part = math.min(1, math.max(there, fair))
  gr, gt = math.max(A[8], math.floor(A[6] * part)), math.max(A[9], math.floor(A[7] * part))
  if until_there(gr, gt) > A[5] then gr, gt = A[8], A[9] end
  local long = until_there(gr, gt)
  if long > A[5] then gr, gt, wait = 0, 0, long - A[5] + 1 end
  served = gr >= A[6] and gt >= A[7]
  if gr > 0 or gt > 0 then wait = until_there(gr, gt) end
  r, t = r - gr, t - gt
end
if served and resting == 0 and (A[10] == 0 or r > 0) and (A[11] == 0 or t > 0) and r >= 0 and t >= 0 then
  local part = 1
  if A[10] > 0 then part = math.min(part, r / A[10]) end
  if A[11] > 0 then part = math.min(part, t / A[11]) end
  local ar, at_once = math.floor(A[10] * part), math.floor(A[11] * part)
  r, t, gr, gt = r - ar, t - at_once, gr + ar, gt + at_once
end
if A[1] == 0 then r = 0 end
if A[2] == 0 then t = 0 end
local function text(n) return string.format('%.3f', n) end
redis.call('HSET', KEYS[1], 'r', text(r), 't', text(t), 'at', text(exact), 'sc', text(sc), 'top', text(top),
  'pause', text(pause), 'cut', text(cut), 'demand', text(demand), 'back', text(back))
redis.call('PEXPIRE', KEYS[1], A[21])
return {gr, gt, math.ceil(wait), math.floor(sc * 1000), math.ceil(resting), math.floor(r), math.floor(t)}
"""

TAKE = Script(_TAKE, push=False)


def arguments(ask: Ask) -> tuple[float | int, ...]:
    """Return the arguments of the script."""
    numbers = ask.numbers
    return (
        numbers.requests_per_minute or 0,
        numbers.tokens_per_minute or 0,
        millis(numbers.burst),
        millis(numbers.horizon),
        millis(ask.patience),
        *ask.queued,
        *ask.first,
        *ask.ahead,
        *ask.back,
        *ask.alone,
        *(-1 if left is None else left for left in ask.left),
        int(ask.share * 1000),
        -1 if ask.pause is None else millis(ask.pause),
        _LONGEST_PAUSE,
        DAY,
        min(ask.demand, 1e6),
        ask.workers,
        _AWAY,
        _RETURNING,
    )


def grant_of(reply: Any, ask: Ask) -> Grant | None:
    """Parse the script's answer; None if it is invalid, such as more units than were asked for."""
    if not isinstance(reply, list | tuple) or len(reply) != 7 or any(type(each) is not int for each in reply):
        return None
    requests, tokens, wait, factor, pause, free_requests, free_tokens = reply
    fits = (
        0 <= requests <= ask.queued.requests + ask.ahead.requests
        and 0 <= tokens <= ask.queued.tokens + ask.ahead.tokens
        and 0 <= wait <= _MOST
        and 100 <= factor <= 1000
        and 0 <= pause <= _LONGEST_PAUSE + 1
        and -_MOST <= free_requests <= _MOST
        and -_MOST <= free_tokens <= _MOST
    )
    if not fits:
        return None
    units, free = Units(requests, tokens), Units(free_requests, free_tokens)
    return Grant(units, min(wait, 2 * _LONGEST_PAUSE) / 1000, factor / 1000, pause / 1000, free)
