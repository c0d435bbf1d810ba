"""
What the messages of providers mean: whole phrases, and the statuses at which each may be believed.

The first match decides, so the most specific phrase comes first. Sources: the providers' error documentation, their
SDKs, and replies as users pasted them.
"""

from __future__ import annotations

import re
from functools import cache

from resilient_ai._core.errors import ErrorType as E


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of these tables; compiled with the first error, so that importing the package stays cheap."""
    return re.compile(pattern)


# Whole phrases in lower case, as the text is made before (half the time of ignoring case while searching), and the
# statuses at which each may be believed; 0 stands for "no status at hand". A phrase never
# turns a 400 or 422 into a rate limit: "unknown parameter 'rate_limit'" is the caller's mistake.
_MONEY = (
    r"credit balance|(?:no|not enough|insufficient|out of|all available|add(?:ing)?(?: more)?|n[o']t have(?: any| enough)?(?! access)|purchase|requires? more|buy|remaining|prepaid) (?:\w+ ){0,2}credits?\b"
    r"|credits? (?:\w+ ){0,3}(?:exhausted|depleted|used up|run out|ran out|too low)|(?:insufficient|low|negative) (?:\w+ )?(?:balance|funds)"
    r"|balance (?:\w+ ){0,3}(?:insufficient|too low|exhausted|depleted|not enough)|not enough (?:balance|money|funds)"
    r"|\bbilling\b|\bpayments?\b|\bprepaid\b|unpaid|overdue|past due|\binvoices?\b|top[ -]?up|recharge|in arrears|good standing|余额不足|欠费|充值|spend(?:ing)?[ -](?:\w+ )?(?:limit|cap|budget)"
    r"|(?:monthly|daily|weekly|hard|total|your) (?:\w+ ){0,2}(?:budget|spend)|budget (?:\w+ ){0,4}(?:exceeded|exhausted|reached)|exceeded (?:\w+ ){0,3}budget"
    r"|(?:account|organization|key|subscription) (?:\w+ ){0,3}(?:suspended|not active)|suspended due to|(?:free )?trial (?:\w+ ){0,3}(?:ended|expired|over)|(?:no|zero) (?:\w+ ){0,2}balance|upgrade your (?:plan|account|subscription)|plan (?:limit|quota)|\bextra usage|(?:key|lifetime) limit (?:exceeded|reached)|total limit\)"
)
_LONG_WINDOW = (
    r"(?:per|/|a|each|this|in a|for the|for) ?(?:day|week|month|billing cycle|billing period)\b|(?:dai|week|month)ly (?:\w+ ){0,3}(?:limit|quota|usage|allowance|cap|request|token)"
    r"|(?:limit|quota|usage|allowance) for (?:today|the day|this (?:week|month))|24[- ]hour (?:limit|quota)|(?:limit|quota) (?:will )?resets? (?:at midnight|tomorrow|on)"
)
_USED_UP = (
    r"exceeded (?:your|the|its) (?:\w+ ){0,2}quota|quota (?:\w+ ){0,3}(?:exceeded|exhausted|reached|used up|depleted|insufficient)|(?:insufficient|out of|no|exhausted|over)(?: \w+){0,4} quota"
    r"|(?:usage|session|free|trial|plan|subscription|included|account)(?:[ -]\w+){0,2} (?:limit|quota|allowance|usage)s? (?:\w+ ){0,4}(?:exceeded|exhausted|reached|hit|used up)"
    r"|(?:reached|exceeded|hit|used(?: up)?|exhausted|over)(?: \w+){0,5} (?:usage|session|free|trial|plan|subscription|included|account)(?:[ -]\w+){0,2} (?:limit|quota|allowance|usage|tokens|requests)"
    r"|free (?:usage|quota|allocation|trial)|free[ -]tier(?: \S+){0,8} (?:exhausted|used up|exceeded|reached)|service quota|额度(?:不足|已|用)|配额"
)
_SHORT_WINDOW = (
    r"per[ _-]?(?:minute|second|hour|min|sec)(?![a-z])|/ ?(?:min|sec|hr|minute|second|hour)\b|\d ?/ ?[smh]\b|\b(?:rpm|tpm|rps|qps|itpm|otpm)\b|concurren|in[ -]flight|parallel requests|simultaneous"
    r"|(?:minute|hour|second)ly|perminute|persecond|perhour|too (?:quickly|fast|frequent)|\bramp|\bburst|slow down"
)
_BUSY = (
    r"high (?:demand|load|traffic|volume)|heavy (?:load|traffic)|\boverload|(?:at|over|out of|exceed\w*|insufficient|no(?: available)?|lack of|limited) (?:\w+ ){0,2}capacity|capacity (?:\w+ ){0,3}(?:exceeded|exhausted|reached|limit|constraint|unavailable)"
    r"|(?:model|engine|server|service|system|endpoint|instance)s? (?:\w+ ){0,4}(?:busy|loading|warming|starting|not ready)|\bloading model|too busy|server busy|currently busy"
    r"|(?:temporarily|currently) (?:unavailable|unable|out of)|service (?:is )?unavailable|no (?:healthy|available) (?:\w+ )?(?:upstream|worker|server|instance|provider|replica|backend)s?"
    r"|繁忙|过载|all (?:\w+ )?(?:workers|servers|instances|providers|slots) (?:are )?(?:\w+ )?(?:busy|unavailable|in use)|queue (?:is )?(?:full|length)|pending requests exceeded|cold start|scaling up"
)
_TOO_LONG = (
    r"range of input length|context[ -]?(?:length|window|size|limit|budget|overflow)|maximum context|max(?:imum)?(?: \w+){0,2} (?:context|sequence|prompt|input)(?: \w+)? (?:length|tokens?|size)"
    r"|(?:prompt|input|request|message|conversation|text|query|content|sequence|document)s? (?:\w+ ){0,4}(?:is|are|was|were|has|have)?(?: \w+){0,2} ?(?:too long|too large for|longer than|too many tokens|over the token)"
    r"|too many (?:\w+ ){0,3}tokens|token (?:count|limit)(?:s)? (?:\S+ ){0,6}(?:exceed|reached|over|greater|more than)|(?:exceed|over|above|beyond|surpass|greater than|larger than|more than)\w*(?: \S+){0,8} (?:token limit|tokens? allowed|max(?:imum)? (?:number of )?tokens|maximum (?:allowed )?(?:input |prompt |token )?(?:length|tokens))"
    r"|tokens? (?:\S+ ){0,8}(?:exceeds?|exceeded|cannot exceed|is greater than|is larger than|> )|reduce (?:the|your) (?:\w+ ){0,3}(?:length|size|input|prompt|tokens)|reduce the length|request too large for|exceeds? (?:the )?max(?:imum)? (?:\w+ )?length|requested \d+ tokens, max \d+"
    r"|(?:must|should) (?:have|be) (?:less|fewer|shorter) than (?:the )?(?:\d+ tokens|maximum|context)|shorter (?:prompt|input|message)|max_(?:total|input|model|prompt)_(?:tokens|len|length)|tokens? > \d+|available context|tokens? in your (?:prompt|request|messages?)"
    r"|tokens?\b[^.]{0,60}\b(?:more|greater|larger|longer|higher) than|tokens?\b[^.]{0,40}must be (?:<|less|fewer|at most)|上下文.{0,10}(?:长|超|限)|超出.{0,8}上下文"
)
_FILTERED = (
    r"content exists risk|content[ _-]?(?:filter|management|policy|policies|moderation|safety)|(?:blocked|rejected|refused|flagged|filtered|declined) (?:\w+ ){0,6}(?:safety|moderation|(?:content|usage|use|our|responsible ai) polic(?:y|ies)|guardrail|filter|classifier|inappropriate|harmful|sensitive)"
    r"|flagged|safety (?:system|settings|reasons?|polic|filter|guideline|check)|(?:usage|acceptable use|trust (?:and|&) safety) (?:polic|guideline)|violat\w+ (?:\w+ ){0,4}(?:polic|guideline|terms|safety)|output blocked|prohibited content"
    r"|inappropriate content|harmful content|sensitive (?:content|information|words)|guardrail|requires moderation|responsible ai|敏感|违规"
)
# A token of a text, not of a login: "invalid token 84297", "invalid token ids", "invalid token at position 3".
_OF_A_TEXT = r"(?! ?(?:#?\d|ids?\b|(?:count|index|indices|limit|budget|type)\b|(?:was|were) (?:generated|produced|sampled)|(?:at|in|on) (?:the )?(?:line|position|column|json|prompt|input|text|schema|grammar)))"
_BAD_KEY = (
    r"(?:invalid|incorrect|no|missing|expired|wrong|bad|revoked|disabled|unknown|malformed|provided?|provide (?:a|an|your)|without (?:a|an)) (?:\w+ ){0,3}(?:x-)?(?:api|auth|access|secret|bearer)[ _-]?(?:key|token)s?"
    r"|(?:api|access|auth|secret)[ _-]?(?:key|token)s? (?:\w+ ){0,3}(?:not valid|invalid|expired|incorrect|revoked|missing|required|disabled|not found|not provided|deactivated|wrong|deleted)"
    rf"|(?:invalid|expired|missing|bad|no) (?:\w+ ){{0,2}}(?:token\b{_OF_A_TEXT}|(?:credentials?|authentication|authorization|signature)\b)|token{_OF_A_TEXT} (?:\w+ ){{0,3}}(?:expired|invalid|revoked)|not authenticated|unauthenticated|unauthorized|authentication (?:fail|error|required|is required|credentials)"
    r"|failed to authenticate|could not (?:be )?(?:authenticate|validate)\w*(?: \w+){0,2} credentials|provide (?:\w+ ){0,3}(?:credentials?|key|token)\b|login (?:is )?required|please (?:log|sign) in|security token|could not be authenticated"
)
_NOT_ALLOWED = (
    r"(?:no|not have|lack\w*|insufficient|without|required?|missing|grant) (?:\w+ ){0,4}permissions?\b|permissions? (?:\w+ )?(?:denied|required|missing)|not authorized|not allowed (?:to (?:access|use)|from|in (?:your|this|the) (?:country|region|location|territory|organi[sz]ation|project|workspace|plan|tier))\b|access (?:is |was |to \S+ (?:is|was) )?(?:denied|forbidden|restricted)|on hold|has been (?:disabled|deactivated|banned|blocked|restricted|terminated)|virtual network|firewall|not have access|no access to"
    r"|(?:country|region|location|territory)(?: \w+){0,3} (?:not|un)[ -]?supported|not (?:supported|available) in your (?:country|region|location)|location is not supported|must be verified|verify your organi[sz]ation|not enabled for|allowlist|whitelist|forbidden|lacks the required"
)
_NO_MODEL = (
    r"(?:model|deployment|engine|endpoint)s?\b.{0,80}?(?:does not exist|do(?:es)? ?n[o']t exist|not found|not exist|no longer available|has been (?:deprecated|decommissioned|retired|removed)|is (?:deprecated|decommissioned)|is not available)"
    r"|(?:unknown|invalid|no such|nonexistent|unrecognized|could not (?:find|resolve)|unable to find)(?: \w+){0,2} (?:model|deployment|engine)\b"
)
_TIMED_OUT = r"timed? ?out\b|time-out|timeout (?:exceeded|error|reached|occurred|expired)|deadline (?:exceeded|expired)|took too long|(?:read|connect|request|gateway|upstream|operation) timeout"
_THROTTLED = r"rate[ -]?limit(?:s|ed|ing)?\b|too many (?:\w+ ){0,2}requests|throttl|(?:request|token)s? (?:rate|limit) (?:\w+ ){0,3}(?:exceeded|reached)|exceeded (?:\w+ ){0,4}(?:rate|request|call)s? limit|限流|频率|频繁"

# What one endpoint cannot take and another may: a parameter that it does not know, or an ability that its model lacks.
_PARAMETER = (
    r"(?:request )?(?:parameters?|arguments?|fields?|keywords?|propert(?:y|ies)|keys?|options?|names?|params?|inputs?)"
)
UNSUPPORTED_PARAMETER = (
    rf"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|unpermitted|extraneous|extra|additional) (?:\w+ ){{0,2}}{_PARAMETER}\b|unsupported value"
    rf"|{_PARAMETER}:? [`'\"]?[\w.\[\]-]{{1,60}}[`'\"]? (?:\w+ ){{0,2}}(?:not|un)[ -]?(?:supported|allowed|permitted|recogni[sz]ed|available|known|accepted)"
    r"|[`'\"][\w.\[\]-]{1,60}[`'\"] (?:\w+ ){0,4}(?:not|un|no longer)[ -]?(?:supported|allowed|permitted|recogni[sz]ed|accepted)"
    r"|(?:does|do|did|is|are)(?: not|n[o']t) (?:\w+ ){0,2}(?:support|compatible with|work with|accept)(?:ed|ing)?\b|cannot (?:both )?be (?:used|specified|set|combined) (?:together )?(?:with|for|on)"
    r"|[`'\"][\w.\[\]-]{1,60}[`'\"] (?:is|was) deprecated"
)

# For exceptions of no SDK's, whose text is all there is: what people write into a `raise` of their own.
PLAIN_PHRASES: tuple[tuple[E, str], ...] = (
    (E.QUOTA_EXCEEDED, rf"insufficient[ _]quota|{_USED_UP}|credit balance|insufficient (?:balance|credits?|funds)|payment required"),
    (E.CONTEXT_LENGTH, r"context[ _](?:length|window)[ _](?:\w+ )?exceed|maximum context length|prompt is too long"),
    (E.MODEL_OVERLOADED, r"\boverloaded\b|service unavailable|(?:at|over) capacity|high demand"),
    (E.RATE_LIMIT, r"\brate[ -]?limit(?:s|ed|ing)?\b|rate_limit_(?:exceeded|error)|too many requests|\bthrottl(?:ed|ing)\b"),
    (E.AUTHENTICATION, r"(?:invalid|incorrect|missing|expired) (?:\w+ )?api key|authentication (?:failed|error)|\bunauthorized\b"),
    (E.TIMEOUT, r"\btimed out\b|\bdeadline exceeded\b|(?:request|connection|gateway|read) timeout"),
    (E.NETWORK_ERROR, r"connection (?:was )?(?:reset|refused|aborted|closed|lost|error|failed)|network (?:error|is unreachable)"),
    (E.INTERNAL_ERROR, r"internal server error|bad gateway"),
)  # fmt: skip

_MESSAGE_AT_4XX = frozenset({400, 403, 413, 422})
PHRASES: tuple[tuple[E, str, frozenset[int], str], ...] = tuple(
    (kind, name, frozenset(statuses), pattern)
    for kind, name, statuses, pattern in (
        # A limit of nothing is not a matter of waiting.
        (E.QUOTA_EXCEEDED, "a limit of 0", {429}, r"\blimit:? 0\b(?![.\d])"),
        # A 429 for a request that is larger than the whole limit never goes through.
        (E.CONTEXT_LENGTH, "larger than the limit", {413, 429}, r"request too large|reduce your message size"),
        (E.CONTENT_FILTER, "content", {400, 403, 422, 451, 0}, _FILTERED),
        (E.RATE_LIMIT, "short window", {402, 429}, _SHORT_WINDOW),
        # Google calls a rate a quota; only the name of its metric says whether it comes back within the day.
        (E.RATE_LIMIT, "google's metric", {429}, r"quota exceeded for (?!.{0,200}per[ _]?day)\S*googleapis\.com"),
        (E.MODEL_OVERLOADED, "busy", {429, 498, 0}, _BUSY),
        (E.QUOTA_EXCEEDED, "money", {400, 401, 402, 403, 412, 422, 429, 0}, _MONEY),
        (E.RATE_LIMIT, "short window", {0}, _SHORT_WINDOW),
        (E.QUOTA_EXCEEDED, "used up", {400, 402, 403, 412, 429, 0}, rf"{_USED_UP}|out of call volume|reached (?:\w+ ){{0,3}}api usage limits"),
        (E.QUOTA_EXCEEDED, "long window", {402, 403, 429, 0}, _LONG_WINDOW),
        (E.CONTEXT_LENGTH, "too long", {*_MESSAGE_AT_4XX, 500, 0}, _TOO_LONG),
        (E.AUTHENTICATION, "bad key", {400, 403, 0}, _BAD_KEY),
        (E.PERMISSION, "not allowed", {400, 0}, _NOT_ALLOWED),
        (E.NOT_FOUND, "no such model", {400, 422, 0}, _NO_MODEL),
        (E.RATE_LIMIT, "throttled", {403, 0}, _THROTTLED),
        (E.TIMEOUT, "timed out", {500, 502, 503, 0}, _TIMED_OUT),
        (E.MODEL_OVERLOADED, "busy", {500, 502}, _BUSY),
    )
)  # fmt: skip
