"""The list of patterns that look like a key, a token or a password, for logs and for memories."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Every repetition is possessive or bounded, so that the time is linear for every text.
_SHAPES = re.compile(
    r"""(?x)
    -----BEGIN\ [A-Z ]{0,20}PRIVATE\ KEY-----[^-]*+(?:-----END\ [A-Z ]{0,20}PRIVATE\ KEY-----)?
    # Prefixes that providers give their keys. What follows may be masked with asterisks.
    | (?<![A-Za-z0-9]) (?:sk|pk|rk|gsk|csk|pcsk|xai|pplx|nvapi|tvly|jina|glpat|gh[oprsu]|github_pat|xox[a-z]|xapp|npm
        |pypi|shp(?:at|ca|pa|ss)|whsec|dapi|dop_v1|GOCSPX|esecret|lsv2|hvs|ntn|sess|bedrock-api-key)
        [-_.][A-Za-z0-9_\-*.=+/]{8,}+
    | (?<![A-Za-z0-9]) (?:hf|fw|r8|fp|flp|ls|pa|ak|as|co|secret|jwt|key|ya29|AQ|SG|bce-v3)
        [-_./](?=[A-Za-z_\-.*/]{0,40}[0-9])[A-Za-z0-9_\-*.=+/]{16,}+
    | (?<![A-Za-z0-9]) (?:AIza|ABSK|AKIA|ASIA|AROA|AIDA|LTAI|AKID|AKLT|ALTAK|sk|dapi)(?=[A-Za-z_\-*]{0,40}[0-9*])
        [A-Za-z0-9_\-*]{12,}+
    | (?<![A-Za-z0-9]) eyJ[\w\-]{8,}+(?:\.[\w\-]*+){1,4}                                  # JSON web tokens
    | (?<![0-9]) [0-9]{8,10}:AA[\w\-]{30,}+                                               # bots' tokens
    | (?<=://) [^/\s:@]{1,200}:[^/\s@]{1,200}(?=@)                                        # credentials in a URL
    # Named as a secret.
    | (?i:\bbearer\s{1,8}(?=[^\s"']{0,200}[0-9]|[^\s"']{20})[\w\-.=+/~*]++)
    | (?i:\bbasic\s{1,8}[A-Za-z0-9+/]{12,}+={0,2})
    | (?i:(?:(?:api|access|private|subscription|account)[-_ ]?key|authorization|token|passw(?:or)?d|secret)
        (?:[-_](?:id|value|key))?\\{0,4}["']?\s{0,8}(?:=>|[:=])\s{0,8}\\{0,4}["']?(?:(?:bearer|basic)\s{1,8})?[^\s"',;]++)
    # The same as a pair of a list, as clients show headers; in a query; and cookies.
    | (?i:["'][\w\-]{0,20}(?:api[-_]?key|authorization|cookie|[-_](?:token|secret|password))["']\s{0,4},\s{0,4}b?
        (?:'[^']{4,}+'|"[^"]{4,}+"))
    | (?i:(?<=[?&])(?:key|sig|signature)=[^\s&"'<>]{4,}+)
    | (?i:cookie["']?\s{0,4}[:=]\s{0,4}["']?[\w.\-]{1,60}=[^\s"';,]++(?:;\s?[\w.\-]{1,60}=[^\s"';,]++){0,20})
    | (?i:(?<=header\ value)[:\ ]{1,2}b?(?:'[^']*+'|"[^"]*+"|[^\s"',;]++))
    """
)
# Runs of letters and digits that can only be a key. A provider's request id is wanted in a log.
_RUNS = re.compile(r"(?<![A-Za-z0-9])(?<!req_)(?<!req-)(?<!call_)(?<!resp_)(?<!msg_)[A-Za-z0-9]{16,}+")
_SHORTEST_HEXADECIMAL = 32
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


def secrets_in(text: str) -> Iterator[tuple[int, int]]:
    """
    Find the parts of a text that look like a secret.

    Args:
        text: Any text; the time taken grows linearly with it.

    Yields:
        Begin and end of each such part. Parts may overlap.
    """
    for match in _SHAPES.finditer(text):
        yield match.span()
    for match in _RUNS.finditer(text):
        if looks_random(match[0]):
            yield match.span()


def looks_random(run: str) -> bool:
    """
    Whether a run of characters looks random: long hexadecimal, or with frequent changes between letters and digits.
    """
    digits = sum(map(str.isdigit, run))
    if digits < 2 or digits == len(run):
        return False
    if len(run) >= _SHORTEST_HEXADECIMAL:
        return True
    changes = sum(left != right for left, right in pairwise(map(_kind, run)))
    return changes * 3 >= len(run)


def _kind(sign: str) -> int:
    return 0 if sign.isdigit() else 1 if sign.isupper() else 2
