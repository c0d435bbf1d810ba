"""
The meanings of providers' messages: whole phrases, and the statuses at which each of them is believed.

The first match decides, so the most specific phrase comes first. Sources: the providers' error documentation, their
SDKs, and replies in users' reports.
"""

from __future__ import annotations

import re
from functools import cache

from resilient_ai._core.errors import ErrorType as E

from . import other_languages as abroad


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of these tables; done at the first error, so that importing the package stays cheap."""
    return re.compile(pattern)


def near(one: str, other: str, words: int) -> str:
    """A pattern for two meanings in either order, with at most `words` words between them."""
    gap = rf"(?:\W{{1,4}}\w{{1,40}}){{0,{words}}}?\W{{1,4}}"
    return rf"\b(?:{one})\b{gap}(?:{other})\b|\b(?:{other})\b{gap}(?:{one})\b"


# Whole phrases in lower case, with the statuses at which each is believed; 0 means that there is no status. The text is
# lowered before, which takes half the time of searching without regard to case. A phrase never turns a 400 or 422 into
# a rate limit: "unknown parameter 'rate_limit'" is the caller's mistake.
_GONE = (
    r"insufficient|not enough|(?:not|n.t) have (?:enough|sufficient|any)|no (?:more|remaining|available)|out of|exhausted"
    r"|depleted|used up|ran out|run out|too low|exceeded|exceeds|over|crossed|negative|overdrawn"
)
# Phrases about money that are believed even with a 5xx.
_MONEY_GONE = rf"{near(_GONE, 'credits?|balance|funds|budget', 3)}|exceeded (?:your|the|its) (?:\w{{1,40}} ){{0,2}}quota|insufficient[ _]quota|payment method|{abroad.MONEY}"
_MONEY = (
    rf"{_MONEY_GONE}|"
    r"credit balance|(?:no|not enough|insufficient|out of|all available|add(?:ing)?(?: more)?|n[o']t have(?: any| enough)?(?! access)|purchase|requires? more|buy|remaining|prepaid) (?:\w{1,40} ){0,2}credits?\b"
    r"|credits? (?:\w{1,40} ){0,3}(?:exhausted|depleted|used up|run out|ran out|too low)|(?:insufficient|low|negative) (?:\w{1,40} )?(?:balance|funds)"
    r"|balance (?:\w{1,40} ){0,3}(?:insufficient|too low|exhausted|depleted|not enough)|not enough (?:balance|money|funds)"
    r"|\bbilling\b|\bpayments?\b|\bprepaid\b|unpaid|overdue|past due|\binvoices?\b|\btop(?:ping)?[ -]?up\b|recharge (?:your|the|account|it|and|to|in|or)\b|please recharge|in arrears|good standing|spend(?:ing)?[ -](?:\w{1,40} )?(?:limit|cap|budget|alert|threshold|ceiling)"
    r"|(?:monthly|daily|weekly|hard|total|your) (?:\w{1,40} ){0,2}(?:budget|spend)|budget (?:\w{1,40} ){0,4}(?:exceeded|exhausted|reached)|exceeded (?:\w{1,40} ){0,3}budget"
    r"|(?:account|organization|key|subscription) (?:\w{1,40} ){0,3}(?:suspended|not active)|suspended due to|(?:free )?trial (?:\w{1,40} ){0,3}(?:ended|expired|over)|(?:no|zero) (?:\w{1,40} ){0,2}balance|upgrade your (?:plan|account|subscription)|plan (?:limit|quota)|\bextra usage|(?:key|lifetime) limit (?:exceeded|reached)|total limit\)"
)
_LONG_WINDOW = (
    rf"{abroad.LONG_WINDOW}|"
    r"\b(?:tpd|rpd|rpw)\b|daily request limit|(?:per|/|a|each|this|in a|for the|for) ?(?:day|week|month|billing cycle|billing period)\b|(?:dai|week|month)ly (?:\w{1,40} ){0,3}(?:limit|quota|usage|allowance|cap|request|token)"
    r"|(?:limit|quota|usage|allowance) for (?:today|the day|this (?:week|month))|24[- ]hour (?:limit|quota)|(?:limit|quota) (?:will )?resets? (?:at midnight|tomorrow|on)"
)
_USED_UP = (
    r"exceeded (?:your|the|its) (?:\w{1,40} ){0,2}quota|quota (?:\w{1,40} ){0,6}(?:exceeded|exhausted|reached|used up|depleted|insufficient)|(?:insufficient|out of|no|exhausted|over)(?: \w{1,40}){0,4} quota"
    r"|(?:usage|session|free|trial|plan|subscription|included|account)(?:[ -]\w{1,40}){0,2} (?:limit|quota|allowance|usage)s? (?:\w{1,40} ){0,4}(?:exceeded|exhausted|reached|hit|used up)"
    r"|(?:reached|exceeded|hit|used(?: up)?|exhausted|over)(?: \w{1,40}){0,5} (?:usage|session|free|trial|plan|subscription|included|account)(?:[ -]\w{1,40}){0,2} (?:limit|quota|allowance|usage|tokens|requests)"
    r"|free (?:usage|quota|allocation|trial)|free[ -]tier(?: \S{1,80}){0,8} (?:exhausted|used up|exceeded|reached)|service quota"
)
COMES_BACK_SOON = r"(?:try|retry)(?: your request)?(?: again)? (?:later|shortly|soon|in a (?:few|moment|while))"
_SHORT_WINDOW = (
    rf"{abroad.RATE}|"
    r"per[ _-]?(?:minute|second|hour|min|sec)(?![a-z])|/ ?(?:min|sec|hr|minute|second|hour)\b|\d ?/ ?[smh]\b|\b(?:rpm|tpm|rps|qps|itpm|otpm)\b|concurren|in[ -]flight|parallel requests|simultaneous"
    r"|(?:minute|hour|second)ly|perminute|persecond|perhour|too (?:quickly|fast|frequent)|\bramp|\bburst|slow down"
)
_BUSY = (
    rf"{abroad.BUSY}|"
    r"high (?:demand|load|traffic|volume)|heavy (?:load|traffic)|\boverload|(?:at|over|out of|exceed\w{0,10}|insufficient|no(?: available)?|lack of|limited) (?:\w{1,40} ){0,2}capacity|capacity (?:\w{1,40} ){0,3}(?:exceeded|exhausted|reached|limit|constraint|unavailable)"
    r"|(?:model|engine|server|service|system|endpoint|instance)s? (?:\w{1,40} ){0,4}(?:busy|loading|warming|starting|not ready)|\bloading model|too busy|server busy|currently busy"
    r"|(?:temporarily|currently) (?:unavailable|unable|out of)|service (?:is )?(?:\w{1,40} )?unavailable|no (?:healthy|available) (?:\w{1,40} )?(?:upstream|worker|server|instance|provider|replica|backend)s?"
    r"|all (?:\w{1,40} )?(?:workers|servers|instances|providers|slots) (?:are )?(?:\w{1,40} )?(?:busy|unavailable|in use)|queue (?:is )?(?:full|length)|pending requests exceeded|cold start|scaling up|scal(?:ed|ing) (?:to|from|up from) (?:zero|0)\b"
)
_TOO_LONG = (
    rf"{abroad.TOO_LONG}|"
    r"physical batch size|max(?:imum)? (?:allowed )?tokens (?:\w{1,40} )?per|(?:lower|decrease) the number of tokens|your (?:batch|request|input|prompt) (?:has|contains) \d{1,9} tokens|(?:input|prompt)(?: \(.{1,40}\))? is too large|max_\w{0,20}tokens\b.{0,40}\bgot -\d|range of input length|context[ -]?(?:length|window|size|limit|budget|overflow)|maximum context|max(?:imum)?(?: \w{1,40}){0,2} (?:context|sequence|prompt|input)(?: \w{1,40})? (?:length|tokens?|size)"
    r"|(?:prompt|input|request|message|conversation|text|query|content|sequence|document)s? (?:\w{1,40} ){0,4}(?:is|are|was|were|has|have)?(?: \w{1,40}){0,2} ?(?:too long|too large for|longer than|too many tokens|over the token)"
    r"|too many (?:\w{1,40} ){0,3}tokens|token (?:count|limit)(?:s)? (?:\S{1,80} ){0,6}(?:exceed|reached|over|greater|more than)|(?:exceed|over|above|beyond|surpass|greater than|larger than|more than)\w{0,10}(?: \S{1,80}){0,8} (?:token limit|tokens? allowed|max(?:imum)? (?:number of )?tokens|maximum (?:allowed )?(?:input |prompt |token )?(?:length|tokens))"
    r"|tokens? (?:\S{1,80} ){0,8}(?:exceeds?|exceeded|cannot exceed|is greater than|is larger than|> )|reduce (?:the|your) (?:\w{1,40} ){0,3}(?:length|size|input|prompt|tokens)|reduce the length|request too large for|exceeds? (?:the )?max(?:imum)? (?:\w{1,40} )?length|requested \d+ tokens, max \d+"
    r"|(?:must|should) (?:have|be) (?:less|fewer|shorter) than (?:the )?(?:\d+ tokens|maximum|context)|shorter (?:prompt|input|message)|max_(?:total|input|model|prompt)_(?:tokens|len|length)|tokens? > \d+|available context|tokens? in your (?:prompt|request|messages?)"
    r"|tokens?\b[^.]{0,60}\b(?:more|greater|larger|longer|higher) than|tokens?\b[^.]{0,40}must be (?:<|less|fewer|at most)"
)
_FILTERED = (
    rf"{abroad.FILTERED}|"
    r"content exists risk|content[ _-]?(?:filter|management|policy|policies|moderation|safety)|(?:blocked|rejected|refused|flagged|filtered|declined) (?:\w{1,40} ){0,6}(?:safety|moderation|(?:content|usage|use|our|responsible ai) polic(?:y|ies)|guardrail|filter|classifier|inappropriate|harmful|sensitive)"
    r"|flagged|safety (?:system|settings|reasons?|polic|filter|guideline|check)|(?:usage|acceptable use|trust (?:and|&) safety) (?:polic|guideline)|violat\w{1,10} (?:\w{1,40} ){0,4}(?:polic|guideline|terms|safety)|output blocked|prohibited content"
    r"|inappropriate content|harmful content|sensitive (?:content|information|words)|guardrail|requires moderation|responsible ai"
)
# A token of a text, not of a login: "invalid token 84297", "invalid token ids", "invalid token at position 3".
_OF_A_TEXT = r"(?! ?(?:#?\d|ids?\b|(?:count|index|indices|limit|budget|type)\b|(?:was|were) (?:generated|produced|sampled)|(?:at|in|on) (?:the )?(?:line|position|column|json|prompt|input|text|schema|grammar)))"
_BAD_KEY = (
    rf"{abroad.BAD_KEY}|"
    r"(?:invalid|incorrect|no|missing|expired|wrong|bad|revoked|disabled|unknown|malformed|provided?|provide (?:a|an|your)|without (?:a|an)) (?:\w{1,40} ){0,3}(?:x-)?(?:api|auth|access|secret|bearer)[ _-]?(?:key|token)s?"
    r"|(?:api|access|auth|secret)[ _-]?(?:key|token)s? (?:\w{1,40} ){0,3}(?:not valid|invalid|expired|incorrect|revoked|missing|required|disabled|not found|not provided|deactivated|wrong|deleted)"
    rf"|(?:invalid|expired|missing|bad|no) (?:\w{{1,40}} ){{0,2}}(?:token\b{_OF_A_TEXT}|(?:credentials?|authentication|authorization|signature)\b)|token{_OF_A_TEXT} (?:\w{{1,40}} ){{0,3}}(?:expired|invalid|revoked)|not authenticated|unauthenticated|unauthorized|authentication (?:fail|error|required|is required|credentials)"
    r"|failed to authenticate|could not (?:be )?(?:authenticate|validate)\w{0,10}(?: \w{1,40}){0,2} credentials|provide (?:\w{1,40} ){0,3}(?:credentials?|key|token)\b|login (?:is )?required|please (?:log|sign) in|security token|could not be authenticated"
)
_NOT_ALLOWED = (
    rf"{abroad.NOT_ALLOWED}|"
    r"(?:no|not have|lack\w{0,10}|insufficient|without|required?|missing|grant) (?:\w{1,40} ){0,4}permissions?\b|permissions? (?:\w{1,40} )?(?:denied|required|missing)|not authorized|not allowed (?:to (?:access|use)|from|in (?:your|this|the) (?:country|region|location|territory|organi[sz]ation|project|workspace|plan|tier))\b|access (?:is |was |to \S{1,80} (?:is|was) )?(?:denied|forbidden|restricted)|on hold|has been (?:disabled|deactivated|banned|blocked|restricted|terminated)|virtual network|firewall|not have access|no access to"
    r"|(?:country|region|location|territory)(?: \w{1,40}){0,3} (?:not|un)[ -]?supported|not (?:supported|available) in your (?:country|region|location)|location is not supported|must be verified|verify your organi[sz]ation|not enabled for|allowlist|whitelist|forbidden|lacks the required"
    r"|\b(?:accept|agree to|accepted|agreed to|acceptance of) (?:\w{1,40} ){0,4}(?:terms|licen[cs]e|agreement|conditions|eula)\b|\bterms acceptance"
)
_NOT_THERE = (
    r"does not exist|do(?:es)? ?n[o']t exist|not found|not exist|no longer (?:available|supported|served)|has been (?:deprecated|decommissioned|retired|removed)|is (?:deprecated|decommissioned|retired)"
    r"|(?:is |are )?not (?:\w{1,40} )?(?:available|deployed|activated|provisioned|hosted|served|accessible)|identifier is invalid"
)
_NO_MODEL = (
    rf"{abroad.NO_MODEL}|(?:model|deployment|engine|endpoint)s?\b.{{0,80}}?(?:{_NOT_THERE})"
    r"|(?:unknown|invalid|no such|nonexistent|unrecognized|could not (?:find|resolve)|unable to find)(?: (?!for\b)\w{1,40}){0,2} (?:model|deployment|engine)\b|unable to (?:access|load)(?: [\w-]{1,40}){0,2} model\b"
    r"|\bnot an? (?:valid|known|recogni[sz]ed|supported|available|existing) (?:\w{1,40} ){0,2}(?:model|deployment|engine)\b"
    r"|\bmodels?(?: id)?:? [`'\"]?[\w./:@-]{1,100}[`'\"]? (?:is|are)(?: not|n.t) supported|throughput is(?:n.t| not) supported"
)
# The model exists, but does not run here; another endpoint may run it.
_NOT_RUNNING = (
    r"\b(?:endpoint|deployment|model|engine|instance|inference)s?\b[^.]{0,100}?\b(?:(?:is|are|was|been|currently)(?: not|n.t)? (?:\w{1,40} )?)"
    r"(?:running|stopped|paused|shut ?down|offline|inactive|started|terminated|asleep)\b|\bnon-serverless|not serverless|\bmodel (?:was |has been )?unloaded"
)
_TIMED_OUT = (
    abroad.TIMED_OUT
    + r"|timed? ?out\b|time-out|timeout (?:exceeded|error|reached|occurred|expired)|deadline (?:exceeded|expired)|took too long|(?:read|connect|request|gateway|upstream|operation) timeout"
)
_THROTTLED = (
    abroad.RATE
    + r"|rate[ -]?limit(?:s|ed|ing)?\b|too many (?:\w{1,40} ){0,2}requests|throttl|(?:request|token)s? (?:rate|limit) (?:\w{1,40} ){0,3}(?:exceeded|reached)|exceeded (?:\w{1,40} ){0,4}(?:rate|request|call)s? limit"
)

# The requested answer length is not allowed: the caller's mistake, even if the message also mentions the context
# window.
_OUTPUT_CAP = (
    r"\A(?!.*\b(?:context (?:length|limit|window)|prompts?|inputs?)\b)(?s:.*)"
    r"\b(?:max_?(?:new_|completion_|output_)?tokens|output tokens|completion tokens)\b[`'\"]?[^\n]{0,80}"
    r"(?:too large|must be (?:less|<|at most|between|in)|less than or equal|maximum (?:allowed )?(?:number|value)|supports at most|valid range|not exceed| > \d|\bexceeds\b)"
)
# The request refers to something that does not exist, and no other endpoint has it.
_REFERENCE = (
    r"\b(?:item|response|file|vector store|assistant|thread|run|batch|container|conversation|message|image|tool call|upload)s?\b(?: object)?"
    r" (?:with |id |for )[^.]{0,100}(?:not found|does not exist)|no such (?:file|assistant|thread|run|batch|container|vector store) object"
)

# Something that one endpoint does not support and another may: a parameter, or an ability of the model.
_PARAMETER = (
    r"(?:request )?(?:parameters?|arguments?|fields?|keywords?|propert(?:y|ies)|keys?|options?|names?|params?|inputs?)"
)
UNSUPPORTED_PARAMETER = (
    rf"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|unpermitted|extraneous|extra|additional) (?:\w{{1,40}} ){{0,2}}{_PARAMETER}\b|unsupported value"
    rf"|{_PARAMETER}:? [`'\"]?[\w.\[\]-]{{1,60}}[`'\"]? (?:\w{{1,40}} ){{0,2}}(?:not|un)[ -]?(?:supported|allowed|permitted|recogni[sz]ed|available|known|accepted)"
    r"|[`'\"][\w.\[\]-]{1,60}[`'\"] (?:\w{1,40} ){0,4}(?:not|un|no longer)[ -]?(?:supported|allowed|permitted|recogni[sz]ed|accepted)"
    r"|(?:does|do|did|is|are)(?: not|n[o']t) (?:\w{1,40} ){0,2}(?:support|compatible with|work with|accept)(?:ed|ing)?\b|cannot (?:both )?be (?:used|specified|set|combined) (?:together )?(?:with|for|on)"
    r"|[`'\"][\w.\[\]-]{1,60}[`'\"] (?:is|was) deprecated|not available (?:for|with|on) (?:this|the) model"
)
# The model wrote a tool call or JSON that its own server refused; it may do better next time.
MALFORMED_BY_MODEL = (
    r"\bfailed to (?:call a function|generate (?:valid )?json)|\btool call validation failed|\battempted to call (?:a )?tool|\binvalid tool generation"
    r"|\bmodel (?:has )?(?:produced|generated|returned|wrote|made) (?:an? )?(?:invalid|malformed|unparsable|incomplete)\b"
)

# A sentence that only a model's own library puts into a ValueError.
TOKENS_OVER_WINDOW = r"tokens \(\d{1,9}\) exceed (?:the )?context (?:window|length|size)|\bmodel'?s maximum context length is \d{1,9} tokens"
# For exceptions that come from no SDK and have only a text: what people write into their own `raise`.
PLAIN_PHRASES: tuple[tuple[E, str], ...] = (
    (E.QUOTA_EXCEEDED, rf"insufficient[ _]quota|{_USED_UP}|credit balance|{_MONEY_GONE}|payment required"),
    (E.CONTEXT_LENGTH, rf"context[ _](?:length|window)[ _](?:\w{{1,40}} )?exceed|maximum context length|(?:prompt|input) is too long|{abroad.TOO_LONG}"),
    (E.CONTENT_FILTER, rf"inappropriate content|content[ _](?:policy|management|filter)|{abroad.FILTERED}"),
    (E.RATE_LIMIT, rf"\brate[ -]?limit(?:s|ed|ing)?\b|rate_limit_(?:exceeded|error)|too many (?:\w{{1,40}} ){{0,2}}requests|\bthrottl(?:ed|ing)\b|{abroad.RATE}"),
    (E.MODEL_OVERLOADED, rf"\boverloaded\b|service (?:is )?(?:\w{{1,40}} )?unavailable|(?:at|over) capacity|high demand|{abroad.BUSY}"),
    (E.AUTHENTICATION, rf"(?:invalid|incorrect|missing|expired) (?:\w{{1,40}} )?api key|authentication (?:failed|error)|\bunauthorized\b|{abroad.BAD_KEY}"),
    (E.NOT_FOUND, abroad.NO_MODEL),
    (E.TIMEOUT, rf"\btimed out\b|\bdeadline exceeded\b|(?:request|connection|gateway|read) timeout|{abroad.TIMED_OUT}"),
    (E.NETWORK_ERROR, r"connection (?:was )?(?:reset|refused|aborted|closed|lost|error|failed)|network (?:error|is unreachable)|(?:peer|server|remote end) (?:closed|disconnected)|incomplete chunked read|payload is not completed|name or service not known|(?:failure in )?name resolution|getaddrinfo failed|nodename nor servname|(?:cannot|could not|unable to|failed to) connect to|connection attempts failed|eof occurred in violation|broken pipe"),
    (E.INTERNAL_ERROR, r"internal server error|bad gateway|server had an error|you can retry your request"),
)  # fmt: skip

_MESSAGE_AT_4XX = frozenset({400, 403, 413, 422})
PHRASES: tuple[tuple[E, str, frozenset[int], str], ...] = tuple(
    (kind, name, frozenset(statuses), pattern)
    for kind, name, statuses, pattern in (
        # Waiting does not help against a limit of 0.
        (E.QUOTA_EXCEEDED, "a limit of 0", {429}, r"\blimit:? 0\b(?![.\d])"),
        # A request larger than the whole limit never succeeds, although its status is 429.
        (E.CONTEXT_LENGTH, "larger than the limit", {413, 429}, r"request too large|reduce your message size"),
        (E.CONTENT_FILTER, "content", {400, 403, 422, 446, 451, 0}, _FILTERED),
        (E.QUOTA_EXCEEDED, "a day's limit", {429}, rf"\b(?:tpd|rpd|rpw)\b|{abroad.LONG_WINDOW}"),
        (E.RATE_LIMIT, "short window", {402, 429}, _SHORT_WINDOW),
        # Google calls a rate limit a quota; only the name of its metric shows whether it is a daily one.
        (E.RATE_LIMIT, "google's metric", {429}, r"quota exceeded for (?!.{0,200}per[ _]?day)\S{0,100}googleapis\.com"),
        (E.MODEL_OVERLOADED, "busy", {429, 498, 0}, _BUSY),
        (E.MODEL_OVERLOADED, "degraded", {400, 500, 0}, r"\bdegraded (?:function|deployment|endpoint|model|state|mode)"),
        (E.QUOTA_EXCEEDED, "money", {400, 401, 402, 403, 412, 422, 429, 0}, _MONEY),
        (E.QUOTA_EXCEEDED, "money gone", {500, 502}, _MONEY_GONE),
        (E.RATE_LIMIT, "short window", {0}, _SHORT_WINDOW),
        (E.QUOTA_EXCEEDED, "used up", {400, 402, 403, 412, 429, 0}, rf"{_USED_UP}|out of call volume|reached (?:\w{{1,40}} ){{0,3}}api usage limits"),
        (E.QUOTA_EXCEEDED, "long window", {402, 403, 429, 0}, _LONG_WINDOW),
        (E.INVALID_REQUEST, "more tokens out than the model gives", {400, 422, 0}, _OUTPUT_CAP),
        (E.INTERNAL_ERROR, "the model broke", {400, 422, 424}, r"\b(?:model|runner|engine|worker|server) (?:process )?(?:has |was )?(?:crashed|killed|terminated)|cuda (?:error|out of memory)|\b(?:model|deployment) (?:has )?(?:returned|raised|reported) an error"),
        (E.CONTEXT_LENGTH, "too long", {*_MESSAGE_AT_4XX, 500, 0}, _TOO_LONG),
        (E.AUTHENTICATION, "bad key", {400, 403, 0}, _BAD_KEY),
        (E.AUTHENTICATION, "no key", {500, 502, 503}, r"(?:api[_ ]key|credentials?) (?:is |was |are |has )?(?:not|n.t) (?:been )?(?:set|configured|provided)\b|\bno api[_ ]key (?:is )?(?:set|configured|provided)"),
        (E.NOT_FOUND, "not running", {400, 403, 409, 422, 500, 0}, _NOT_RUNNING),
        (E.PERMISSION, "not allowed", {400, 0}, _NOT_ALLOWED),
        (E.PERMISSION, "another model's key", {401}, r"not allowed to access (?:\w{1,40} )?model|can only access models"),
        (E.NOT_FOUND, "no such model", {400, 422, 500, 0}, _NO_MODEL),
        (E.INVALID_REQUEST, "what the request refers to", {404}, _REFERENCE),
        (E.RATE_LIMIT, "throttled", {403, 0}, _THROTTLED),
        (E.TIMEOUT, "timed out", {500, 502, 503, 0}, _TIMED_OUT),
        (E.MODEL_OVERLOADED, "busy", {500, 502}, _BUSY),
    )
)  # fmt: skip
