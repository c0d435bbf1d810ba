"""The user's additions to the classification: their own classifiers, and rows for the tables of rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from resilient_ai._core.errors import ErrorType, ResilienceError
from resilient_ai._core.log import log
from resilient_ai._core.public import public

from .evidence import gather
from .provider_rules import plain
from .replies import is_reply, stated_wait
from .verdict import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_classifiers: tuple[Callable[[BaseException], Verdict | ErrorType | None], ...] = ()
_broken: set[int] = set()


@public()
def register_classifier(
    fn: Callable[[BaseException], Verdict | ErrorType | None],
) -> Callable[[], None]:
    """
    Ask `fn` before the built-in rules.

    Args:
        fn: Takes an exception; returns a `Verdict`, an `ErrorType`, or None if it does not know the error. The latest
            registered function is asked first. One that raises is logged once and skipped.

    Returns:
        A function that removes it again.
    """
    global _classifiers
    _classifiers = (fn, *_classifiers)

    def unregister() -> None:
        global _classifiers
        _classifiers = tuple(each for each in _classifiers if each is not fn)

    return unregister


@public()
def register_rules(
    *,
    codes: Mapping[str, ErrorType] | None = None,
    phrases: Mapping[str, ErrorType] | None = None,
    statuses: Mapping[int, ErrorType] | None = None,
    sdk: str | None = None,
) -> Callable[[], None]:
    """
    Add rows to the tables of codes, phrases and statuses, in front of the built-in ones.

    Args:
        codes: Error types by machine code, as the provider writes it; case and separators do not matter. Default: none.
        phrases: Error types by regular expression, searched without regard to case in the messages of error replies.
            Default: none.
        statuses: Error types by HTTP status. Default: none.
        sdk: The package whose exceptions the rows are for, such as `"openai"`. Default: every reply.

    Returns:
        A function that removes the rows again.

    Raises:
        ValueError: A row does not lead to an `ErrorType`, or a phrase is not a regular expression.
    """
    for rows in (codes, phrases, statuses):
        for key, kind in (rows or {}).items():
            if not isinstance(kind, ErrorType):
                raise ValueError(f"a rule leads to an ErrorType, got {key!r}: {kind!r}")
    try:
        patterns = [(re.compile(phrase, re.IGNORECASE), kind) for phrase, kind in (phrases or {}).items()]
    except re.error as error:
        raise ValueError(f"a phrase is no regular expression: {error}") from error
    by_code = {plain(code): kind for code, kind in (codes or {}).items()}
    by_status = dict(statuses or {})

    def look_up(error: BaseException) -> Verdict | None:
        if isinstance(error, ResilienceError) or not (by_code or patterns or by_status):
            return None
        found = gather(error)
        if (sdk is not None and found.sdk != sdk) or not is_reply(found):
            return None
        kind, evidence = next(
            ((by_code[each], each) for each in map(plain, found.codes) if each in by_code), (None, "")
        )
        if kind is None:
            kind, evidence = next(
                ((each, pattern.pattern) for pattern, each in patterns if pattern.search(found.text)), (None, "")
            )
        if kind is None and found.status in by_status:
            kind, evidence = by_status[found.status], f"status {found.status}"
        if kind is None:
            return None
        return verdict(
            kind, retry_after=stated_wait(found), in_stream=not found.failed, evidence=f"own rule: {evidence}"
        )

    return register_classifier(look_up)


def ask_users(error: BaseException) -> Verdict | None:
    """The verdict of the user's classifiers; None if there are none, or if none of them knows the error."""
    for fn in _classifiers:
        if (answer := _ask(fn, error)) is not None:
            return answer
    return None


def _ask(fn: Callable[[BaseException], Any], error: BaseException) -> Verdict | None:
    try:
        answer = fn(error)
        if answer is None or isinstance(answer, Verdict):
            return answer
        return verdict(ErrorType(answer), evidence="registered classifier")
    except Exception as problem:  # noqa: BLE001 - a broken classifier must not break the call
        if id(fn) not in _broken:
            _broken.add(id(fn))
            classifier = str(getattr(fn, "__qualname__", type(fn).__qualname__))
            log("error", "resilient_ai.classifier_failed", classifier=classifier, error=type(problem).__name__)
        return None
