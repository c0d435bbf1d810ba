"""
What each provider's codes, phrases and statuses mean: data, not code.

Order matters: within a table the first match decides, most specific class first. Sources: the providers' error
documentation and their SDKs; each code was seen in an error reply.
"""

from __future__ import annotations

import re

from ._errors import ErrorType as E

# Machine codes, lower case with every separator taken out: `insufficient_quota`, `insufficientQuota` → `insufficientquota`.
# Types that providers put on everything (`invalid_request_error`, `BadRequestError`) are not here: they decide nothing.
CODES: dict[str, E] = {
    **dict.fromkeys(
        [
            "insufficientquota",
            "creditbalanceexhausted",
            "organizationspendlimitexceeded",
            "projectspendlimitexceeded",
            "organizationusagelimitexceeded",
            "billinghardlimitreached",
            "billingnotactive",
            "enforcedspendlimitreached",
            "contractspendlimitreached",
            "linkedorganizationspendlimitreached",
            "spendlimitreached",
            "billingerror",
            "servicequotaexceededexception",
            "insufficientbalance",
            "insufficientcredits",
            "paymentrequired",
            "quotaexceeded",
            "exceededcurrentquotaerror",
            "creditlimit",
            "spendinglimitexceeded",
            "freetierlimitexceeded",
            "accountbillingerror",
            "linkedorganizationspendlimitreachederror",
            "enforcedspendlimitreachederror",
            "contractspendlimitreachederror",
            "paymentrequirederror",
        ],
        E.QUOTA_EXCEEDED,
    ),
    **dict.fromkeys(
        [
            "contextlengthexceeded",
            "exceedcontextsizeerror",
            "stringabovemaxlength",
            "contextwindowexceeded",
            "maxtokensexceeded",
            "promptistoolong",
            "inputtoolong",
            "contextwindowexceedederror",
        ],
        E.CONTEXT_LENGTH,
    ),
    **dict.fromkeys(
        [
            "contentfilter",
            "contentpolicyviolation",
            "responsibleaipolicyviolation",
            "moderation",
            "moderationblocked",
            "safety",
            "prohibitedcontent",
            "contentfiltered",
            "invalidprompt",
            "imagesafety",
            "guardrailintervened",
            "contentpolicyviolationerror",
        ],
        E.CONTENT_FILTER,
    ),
    **dict.fromkeys(
        [
            "overloadederror",
            "serverisoverloaded",
            "serviceunavailableerror",
            "engineoverloaded",
            "modelnotreadyexception",
            "serviceunavailableexception",
            "unavailable",
            "capacityexceeded",
            "nocapacity",
            "modeloverloaded",
            "slowdown",
            "overloaded",
            "modelcapacityexceeded",
            "3505",
            "serviceunavailable",
            "noavailableworkers",
        ],
        E.MODEL_OVERLOADED,
    ),
    **dict.fromkeys(
        [
            "permissionerror",
            "permissiondenied",
            "accessdeniedexception",
            "accessdenied",
            "forbidden",
            "organizationonhold",
            "countrynotsupported",
            "unsupportedcountryregionterritory",
            "orgonhold",
            "organizationonholderror",
            "resourceblocked",
            "accountdeactivated",
            "insufficientpermissions",
            "ipnotauthorized",
        ],
        E.PERMISSION,
    ),
    **dict.fromkeys(
        [
            "invalidapikey",
            "apikeyinvalid",
            "authenticationerror",
            "unauthorized",
            "unauthenticated",
            "unrecognizedclientexception",
            "expiredtokenexception",
            "invalidsignatureexception",
            "incorrectapikey",
            "missingauthenticationtoken",
            "invalidauthentication",
            "invalidtoken",
            "tokenexpired",
            "apikeyexpired",
            "invalidapikeyerror",
            "accesstokenexpired",
        ],
        E.AUTHENTICATION,
    ),
    **dict.fromkeys(
        [
            "modelnotfound",
            "notfounderror",
            "notfound",
            "deploymentnotfound",
            "resourcenotfoundexception",
            "resourcenotfound",
            "invalidmodel",
            "modelnotavailable",
            "unknownmodel",
        ],
        E.NOT_FOUND,
    ),
    **dict.fromkeys(
        [
            "timeouterror",
            "deadlineexceeded",
            "modeltimeoutexception",
            "requesttimeout",
            "gatewaytimeout",
            "timeout",
            "operationtimeout",
            "1301timeout",
        ],
        E.TIMEOUT,
    ),
    **dict.fromkeys(
        [
            "ratelimitexceeded",
            "ratelimiterror",
            "ratelimitreached",
            "ramplimitexceeded",
            "throttlingexception",
            "toomanyrequests",
            "toomanyrequestsexception",
            "resourceexhausted",
            "1300",
            "ratelimited",
            "throttled",
            "requestlimitexceeded",
        ],
        E.RATE_LIMIT,
    ),
    **dict.fromkeys(
        [
            "servererror",
            "internalservererror",
            "internalserverexception",
            "modelerrorexception",
            "modelstreamerrorexception",
            "internalerror",
            "apierror",
            "internal",
            "internalfailure",
        ],
        E.INTERNAL_ERROR,
    ),
}

CODE_ORDER = (
    E.QUOTA_EXCEEDED,
    E.CONTEXT_LENGTH,
    E.CONTENT_FILTER,
    E.MODEL_OVERLOADED,
    E.PERMISSION,
    E.AUTHENTICATION,
    E.NOT_FOUND,
    E.TIMEOUT,
    E.RATE_LIMIT,
    E.INTERNAL_ERROR,
)

# Whole phrases, and the statuses at which each may be believed (None: no status at hand). A phrase never
# turns a plain 400 or 422 into a rate limit: an "unknown parameter 'rate_limit'" is the caller's mistake.
_ANY_4XX = frozenset({400, 401, 402, 403, 404, 408, 409, 412, 413, 422, 424, 429, 498})
PHRASES: tuple[tuple[E, frozenset[int | None], re.Pattern[str]], ...] = tuple(
    (error_type, frozenset(statuses), re.compile(pattern, re.IGNORECASE))
    for error_type, statuses, pattern in (
        (
            E.MODEL_OVERLOADED,
            {429, None, 200, 503, 500},
            r"high demand|\boverloaded\b|at capacity|over capacity|capacity exceeded|temporarily unavailable|model is loading",
        ),
        (
            E.QUOTA_EXCEEDED,
            {400, 402, 403, 429, 412, None, 200},
            r"exceeded your current quota|credit balance|billing|spend(?:ing)? limit|usage limit|insufficient (?:balance|credit|funds)"
            r"|out of call volume quota|\bquota (?:is |was |has been )?exceeded|monthly (?:limit|quota|usage)|/ ?month\b"
            r"|per month|requires more credits|not enough credits|tokens per day|suspended due to",
        ),
        (
            E.CONTEXT_LENGTH,
            {400, 403, 413, 422, 429, None, 200, 500},
            r"context (?:length|window|size|limit)|maximum context|prompt is too long|input is too long|too many (?:total )?(?:text )?(?:input )?tokens"
            r"|input token count|tokens? (?:\w+ )*exceeds? the (?:maximum|limit)|reduce the length|request too large for"
            r"|must have less than \d+ tokens|exceeds? (?:the )?(?:model'?s )?(?:maximum|max) (?:\w+ )*(?:tokens|length)|longer than the maximum",
        ),
        (
            E.CONTENT_FILTER,
            {400, 403, 422, None, 200},
            r"content (?:filter|management|policy|moderation)|blocked by (?:\w+ )*(?:safety|moderation|policy)|flagged|safety (?:system|settings|reasons)"
            r"|usage polic(?:y|ies)|output blocked",
        ),
        (
            E.AUTHENTICATION,
            {400, 401, 403, 498, None, 200},
            r"(?:invalid|incorrect|no|missing|expired|provide[ds]?) (?:\w+ ){0,2}api[ _-]?key|api key (?:not valid|is invalid|expired)|invalid (?:api )?token"
            r"|(?:authentication|unauthenticated|unauthorized)\b|security token .* (?:invalid|expired)",
        ),
        (
            E.PERMISSION,
            {400, 401, 403, None},
            r"permission|not authorized|access denied|on hold|not allowed to access|virtual network|firewall",
        ),
        (
            E.NOT_FOUND,
            {400, 404, None},
            r"model .{0,80}(?:does not exist|not found|not exist)|deployment .{0,40}does not exist",
        ),
        (E.TIMEOUT, {None, 200, 500}, r"timed? ?out|deadline exceeded"),
        (
            E.RATE_LIMIT,
            {429, None, 200, 403, 413},
            r"rate.?limit|too many requests|throttl|requests? per (?:minute|second)|/ ?minute\b",
        ),
    )
)

STATUSES: dict[int, E] = {
    400: E.INVALID_REQUEST,
    401: E.AUTHENTICATION,
    402: E.QUOTA_EXCEEDED,
    403: E.PERMISSION,
    404: E.NOT_FOUND,
    408: E.TIMEOUT,
    409: E.INTERNAL_ERROR,
    413: E.INVALID_REQUEST,
    422: E.INVALID_REQUEST,
    424: E.INTERNAL_ERROR,
    425: E.INTERNAL_ERROR,
    429: E.RATE_LIMIT,
    498: E.MODEL_OVERLOADED,
    499: E.TIMEOUT,
    503: E.MODEL_OVERLOADED,
    504: E.TIMEOUT,
    524: E.TIMEOUT,
    529: E.MODEL_OVERLOADED,
}

# Class names of transports, SDKs and the standard library, searched along the MRO when no reply came at all.
TRANSPORT: tuple[tuple[E, re.Pattern[str]], ...] = (
    (E.TIMEOUT, re.compile(r"Timeout|DeadlineExceeded|TooSlow")),
    (
        E.NETWORK_ERROR,
        re.compile(
            r"Connect|^Read|^Write|RemoteProtocol|LocalProtocol|ClientOS|ClientPayload|ServerDisconnected|BrokenResource"
            r"|IncompleteRead|Network|ClosedResource|^ProxyError$|^gaierror$|^SSLError$|^OSError$|EndOfStream|ChunkedEncoding"
        ),
    ),
    (E.INTERNAL_ERROR, re.compile(r"JSONDecodeError|ResponseValidation|DecodingError|BadHttpMessage|APIError$")),
)

RETRYABLE = frozenset({E.RATE_LIMIT, E.MODEL_OVERLOADED, E.NETWORK_ERROR, E.TIMEOUT, E.INTERNAL_ERROR, E.CIRCUIT_OPEN})

BLAME: dict[E, str] = {
    E.RATE_LIMIT: "account",
    E.QUOTA_EXCEEDED: "account",
    E.AUTHENTICATION: "credential",
    E.PERMISSION: "credential",
    E.MODEL_OVERLOADED: "deployment",
    E.NETWORK_ERROR: "network",
    E.TIMEOUT: "provider",
    E.INVALID_REQUEST: "request",
    E.CONTEXT_LENGTH: "request",
    E.CONTENT_FILTER: "request",
    E.NOT_FOUND: "deployment",
    E.INTERNAL_ERROR: "provider",
    E.CIRCUIT_OPEN: "deployment",
}
