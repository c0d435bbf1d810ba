"""
The meanings of the providers' codes and statuses: data, not code.

`replies` uses the evidence in this order: a code with one meaning only (`CODES`), a phrase at a status where it is
believed (`phrases`), a code that is merely the name of a status (`STATUS_NAMES`), the status (`STATUSES`). Sources: the
providers' error documentation and SDKs.
"""

from __future__ import annotations

import re

from resilient_ai._core.errors import ErrorType as E


def plain(code: str) -> str:
    """
    Normalise a code, without case and separators: `insufficient_quota`, `InsufficientQuota` → `insufficientquota`.
    """
    return _SEPARATORS.sub("", code.lower())


_SEPARATORS = re.compile(r"[^a-z0-9]")


# Codes with one meaning at any status. AWS shapes and SDK classes are listed without "Exception" and "Error", which are
# removed before the look-up.
_NAMES: tuple[tuple[E, str], ...] = (
    (
        E.QUOTA_EXCEEDED,
        # OpenAI, Azure
        "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded"
        " organization_usage_limit_exceeded project_usage_limit_exceeded billing_hard_limit_reached billing_not_active"
        # Anthropic
        " enforced_spend_limit_reached contract_spend_limit_reached linked_organization_spend_limit_reached"
        " linked_organization_billing_unavailable spend_limit_reached billing user_profile_not_billable"
        # Bedrock, Google
        " ServiceQuotaExceeded BILLING_DISABLED CONSUMER_SUSPENDED dailyLimitExceeded"
        # Others: DeepSeek, Moonshot, OpenRouter, xAI, Together, Fireworks, DashScope, Volcengine, Zhipu
        " insufficient_balance insufficient_credit insufficient_credits insufficient_funds credits_exhausted"
        " out_of_credits no_credits payment_required credit_limit credit_limit_exceeded spending_limit_exceeded"
        " spend_limit_exceeded budget_exceeded BudgetExceeded exceeded_current_quota quota_exceeded quotaExceeded"
        " quota_exhausted free_tier_limit_exceeded account_billing account_suspended usage_limit_reached"
        " usage_limit_exceeded Arrearage AccountOverdue AllocationQuota.FreeTierOnly"
        " subscription_quota_exceeded monthly_limit_exceeded insufficient_user_quota",
    ),
    (
        E.CONTEXT_LENGTH,
        "context_length_exceeded string_above_max_length max_tokens_per_request exceed_context_size context_window_exceeded"
        " ContextWindowExceeded max_tokens_exceeded prompt_too_long prompt_is_too_long input_too_long input_too_large"
        " tokens_limit_reached too_many_tokens context_overflow context_size_exceeded request_too_large_for_model"
        " max_prompt_tokens_exceeded",
    ),
    (
        E.CONTENT_FILTER,
        "content_filter content_filtered content_policy_violation ContentPolicyViolation ResponsibleAIPolicyViolation"
        " moderation moderation_blocked moderation_error flagged_input safety prohibited_content invalid_prompt image_safety"
        " guardrail_intervened bio_policy misalignment_policy_violation cyber_policy safety_check_failed"
        " image_content_policy_violation content_blocked blocked_content refusal DataInspectionFailed data_inspection_failed"
        " SensitiveContentDetected InputTextSensitiveContentDetected OutputTextSensitiveContentDetected"
        " RECITATION BLOCKLIST SPII",
    ),
    (
        E.MODEL_OVERLOADED,
        "overloaded server_overloaded server_is_overloaded engine_overloaded model_overloaded ServerOverloaded"
        " slow_down ModelNotReady capacity_exceeded over_capacity no_capacity insufficient_capacity"
        " model_capacity_exceeded service_tier_capacity_exceeded out_of_capacity 3505 no_available_workers"
        " provider_unavailable no_provider_available no_available_server model_loading model_not_ready NoCapacity"
        " provider_overloaded upstream_overloaded model_unavailable",
    ),
    (
        E.INTERNAL_ERROR,
        "cmek_key_unreachable cmek_context_unavailable ModelError ModelStreamError change_outcome_unknown",
    ),
    (
        E.PERMISSION,
        "organization_on_hold org_on_hold organization_type_not_supported parent_organization_required cmek_key_disabled"
        " cmek_key_network_blocked unsupported_country_region_territory country_not_supported ResourceBlocked"
        " account_deactivated organization_deactivated access_terminated SERVICE_DISABLED API_KEY_SERVICE_BLOCKED"
        " API_KEY_IP_ADDRESS_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED insufficient_permissions missing_scope"
        " AccessDenied Model.AccessDenied model_access_denied IAM_PERMISSION_DENIED data_residency_mismatch",
    ),
    (
        E.AUTHENTICATION,
        "invalid_api_key incorrect_api_key API_KEY_INVALID apikey_invalid api_key_expired no_organization"
        " ip_not_authorized mismatched_organization UnrecognizedClient ExpiredToken InvalidSignature"
        " SignatureDoesNotMatch IncompleteSignature MissingAuthenticationToken InvalidClientTokenId InvalidAccessKeyId"
        " ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_TYPE_UNSUPPORTED CREDENTIALS_MISSING invalid_authentication token_expired"
        " invalid_credentials missing_api_key api_key_missing invalid_auth_key expired_api_key NoCredentials"
        " PartialCredentials IdentityTokenFile Credentials RefreshError DefaultCredentials",
    ),
    (
        E.NOT_FOUND,
        "model_not_found DeploymentNotFound invalid_model unknown_model model_not_available model_decommissioned"
        " model_deprecated model_not_supported model_not_exist engine_not_found unknown_url",
    ),
    (
        E.TIMEOUT,
        "ModelTimeout request_timeout operation_timeout upstream_timeout engine_timeout vector_store_timeout"
        " request_body_timeout",
    ),
    (
        E.RATE_LIMIT,
        # The last one is DashScope's name for tokens per minute
        "ramp_limit_exceeded openrouter_in_flight_budget concurrency_limit_exceeded Throttling.AllocationQuota",
    ),
)
# Numeric codes of Zhipu and MiniMax, which have other meanings at other providers or statuses.
_NUMBERS: tuple[tuple[E, str, tuple[int, ...]], ...] = (
    (E.QUOTA_EXCEEDED, "1113 1304 1308 1309 1310", (400, 402, 403, 429, 0)),
    (E.QUOTA_EXCEEDED, "1008 2056", (400, 429, 0)),
    (E.MODEL_OVERLOADED, "1305 1312", (429, 503, 0)),
    (E.RATE_LIMIT, "1302 1303", (400, 429, 0)),
    (E.RATE_LIMIT, "1002 1039 1041", (429, 0)),
    (E.CONTENT_FILTER, "1301", (400, 0)),
    (E.CONTENT_FILTER, "1026 1027", (400, 0)),
    (E.CONTEXT_LENGTH, "1261", (400, 0)),
    (E.NOT_FOUND, "1211 1221 1222", (400, 404, 0)),
    (E.PERMISSION, "1112 1121 1220", (400, 403, 429, 0)),
    (E.AUTHENTICATION, "1004 2049", (0,)),
    (E.TIMEOUT, "1001", (0,)),
)
CODES: dict[str, E] = {plain(name): kind for kind, names in _NAMES for name in names.split()}
CODE_ORDER: tuple[E, ...] = tuple(kind for kind, _ in _NAMES)

# Codes whose meaning depends on the status: OpenAI's `slow_down` with 429 is about the caller's rate, with 503 about
# the servers. None: the code means nothing at that status.
CODES_AT: dict[tuple[str, int], E | None] = {
    (plain("slow_down"), 429): E.RATE_LIMIT,
    (plain("quota_exceeded"), 429): None,  # per minute or for good: only the message tells
    (plain("too_many_tokens"), 429): None,  # in one request or in a minute: Cerebras means the minute
    (plain("generation"), 424): E.INTERNAL_ERROR,  # TGI's error_types: the model broke, not a tool of the caller
    (plain("incomplete_generation"), 424): E.INTERNAL_ERROR,
    (plain("AccessDenied"), 401): E.AUTHENTICATION,
    **{
        (number, status): kind
        for kind, numbers, statuses in _NUMBERS
        for number in numbers.split()
        for status in statuses
    },
}
# Exceptions among the types that are not worth a retry: the model wrote a malformed tool call and may do better.
WORTH_A_RETRY = frozenset({"tool_use_failed", "json_validate_failed"})

# Codes that mean no more than a status, by that status.
_STATUS_NAMES: dict[int, str] = {
    400: "invalid_request invalid_request_error BadRequestError bad_request INVALID_ARGUMENT FAILED_PRECONDITION"
    " OUT_OF_RANGE ValidationException validation_error invalid_parameter invalid_params InvalidParameter",
    401: "authentication_error AuthenticationError unauthorized UnauthorizedError UNAUTHENTICATED invalid_token",
    403: "permission_error PermissionDeniedError PERMISSION_DENIED forbidden ForbiddenError request_forbidden",
    404: "not_found not_found_error NotFoundError ResourceNotFoundException",
    408: "timeout RequestTimeoutError",
    409: "conflict conflict_error ConflictError ConflictException ABORTED",
    413: "request_too_large payload_too_large ContentTooLargeError RequestTooLargeError",
    422: "unprocessable_entity UnprocessableEntityError HTTPValidationError",
    429: "rate_limit_exceeded rate_limit_error RateLimitError RateLimitReached rate_limit rate_limited rate_limit_reached"
    " rate_limit_reached_error too_many_requests TooManyRequestsError TooManyRequestsException ThrottlingException Throttling"
    " Throttled RequestLimitExceeded RESOURCE_EXHAUSTED 1300 userRateLimitExceeded requests tokens SlowDown"
    " Throttling.RateQuota RequestThrottled RATE_LIMIT_EXCEEDED",
    499: "cancelled ClientClosedRequestError",
    500: "server_error internal_server_error InternalServerError InternalServerException internal_error api_error"
    " INTERNAL InternalFailure DATA_LOSS unknown_error",
    503: "service_unavailable service_unavailable_error ServiceUnavailableError ServiceUnavailableException ServiceUnavailable"
    " UNAVAILABLE temporarily_unavailable",
    504: "timeout_error DEADLINE_EXCEEDED gateway_timeout GatewayTimeoutError DeadlineExceeded",
    529: "overloaded_error OverloadedError",
}
STATUS_NAMES: dict[str, int] = {
    plain(name): status for status, names in _STATUS_NAMES.items() for name in names.split()
}
# Statuses that servers use for anything; a code that names a definite status is believed instead.
CATCH_ALL = frozenset({400, 401, 403, 500})

STATUSES: dict[int, E] = {
    401: E.AUTHENTICATION,
    402: E.QUOTA_EXCEEDED,
    403: E.PERMISSION,
    404: E.NOT_FOUND,
    407: E.AUTHENTICATION,
    408: E.TIMEOUT,
    409: E.INTERNAL_ERROR,
    410: E.NOT_FOUND,
    420: E.RATE_LIMIT,
    421: E.INTERNAL_ERROR,
    425: E.INTERNAL_ERROR,
    429: E.RATE_LIMIT,
    451: E.PERMISSION,
    499: E.TIMEOUT,
    503: E.MODEL_OVERLOADED,
    504: E.TIMEOUT,
    522: E.TIMEOUT,
    524: E.TIMEOUT,
    529: E.MODEL_OVERLOADED,
}
# Statuses with a meaning of their own at one SDK's provider, and whether a retry may help (None: as usual for the
# type).
SDK_STATUSES: dict[tuple[str, int], tuple[E, bool | None]] = {
    ("groq", 498): (E.MODEL_OVERLOADED, None),  # flex tier at capacity
    ("cohere", 498): (E.INVALID_REQUEST, None),  # a deny-listed token in the text
}
NEVER_WORTH_A_RETRY = frozenset({501, 505, 510, 511})
