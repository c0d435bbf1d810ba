"""The usage of one run of a function, read from its result or reported from inside."""

from __future__ import annotations

from typing import Any, Protocol

from resilient_ai._core.call_facts import watching
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.metering import Run, tell_watchers
from resilient_ai._core.public import public
from resilient_ai._core.usage import Usage
from resilient_ai._core.watched import current_run

from .readers import field, usage_of


class Receiver(Protocol):
    """The receiver of a run's usage."""

    def used(
        self,
        endpoint: str | None,
        model: str | None,
        usage: Usage | None,
        *,
        whole: bool = True,
        heard: set[Any] | None = None,
    ) -> None:
        """
        Take in the usage of one answer.

        Args:
            endpoint: The endpoint that gave the answer.
            model: Its model; None if unknown.
            usage: Its tokens; None if unknown.
            whole: Whether the usage is complete.
            heard: The receivers that have already counted the answer, which may pass several functions; the receiver
                adds itself.
        """


class UsageRun:
    """
    A run whose usage is counted.

    Usage reported from inside counts in place of the usage in the result, because an answer is often reported and then
    returned. It also counts for the runs around this one while they last: a task that a run has started without waiting
    for it is not counted for that run.
    """

    __slots__ = ("_anything", "_endpoint", "_model", "_outer", "_over", "_receiver", "_streamed")

    def __init__(self, receiver: Receiver | None, endpoint: str | None, outer: Run | None) -> None:
        self._receiver = receiver
        self._endpoint = endpoint
        self._outer = outer if type(outer) is UsageRun else None  # of a decorated function that has called this one
        self._over = False
        self._anything = False  # whether anything was reported
        self._streamed: Usage | None = None
        self._model: str | None = None

    def told(self, usage: Usage, model: str | None, *, whole: bool = True) -> None:
        """Take in usage that is reported from inside."""
        outer = self._around()
        heard: set[Any] | None = None if outer is None else set()
        self._take(usage, model, whole, heard)
        while outer is not None:
            outer._take(usage, model, whole, heard)
            outer = outer._around()
        _show(usage)

    def _take(self, usage: Usage, model: str | None, whole: bool, heard: set[Any] | None) -> None:
        self._anything = True
        if self._receiver is not None:
            self._receiver.used(self._endpoint, model, usage, whole=whole, heard=heard)

    def _around(self) -> UsageRun | None:
        """The nearest run around this one that is not over; ended runs are dropped."""
        outer = self._outer
        while outer is not None and outer._over:
            outer = outer._outer
        self._outer = outer
        return outer

    def _end(self) -> None:
        self._over = True
        if self._outer is not None:
            self._around()

    def answered(self, result: Any) -> None:
        self._end()
        if self._anything:
            return
        if type(result) is str or (usage := usage_of(result)) is None:
            self._read(None, None)
        else:
            self._read(usage, _model_of(result))

    def failed(self, error: BaseException) -> None:
        self._end()
        # A rejected or filtered answer is paid for like any other, and its error contains it.
        reply = field(error, "reply") if not self._anything else None
        if reply is not None and (usage := usage_of(reply)) is not None:
            self._read(usage, _model_of(reply))

    def gave(self, item: Any) -> None:
        if type(item) is str or self._anything:
            return
        if (usage := usage_of(item)) is not None:
            # Usage comes in parts, or grows: the largest value of each number is the final one.
            self._streamed = usage if self._streamed is None else _largest(self._streamed, usage)
        if self._model is None:
            self._model = _model_of(item)

    def ended(self, stream: Any) -> None:
        self._end()
        if self._anything:
            return
        reply = field(stream, "reply") if self._streamed is None else None
        if reply is not None:
            self._read(usage_of(reply), _model_of(reply))
        else:
            self._read(self._streamed, self._model)

    def left(self) -> None:
        """Take in that a stream was not read to its end: only the usage reported so far is known."""
        # The run is not over: streams that it reads are closed after it, and report their usage only then.
        if self._anything:
            return
        if self._streamed is not None:
            self.told(self._streamed, self._model, whole=False)
        else:
            self._read(None, self._model)

    def _read(self, usage: Usage | None, model: str | None) -> None:
        if usage is not None:
            self.told(usage, model)
        elif self._receiver is not None:
            self._receiver.used(self._endpoint, model, None)


class _WatchedRuns:
    """Reports the usage of runs to active watch() blocks, if no registry counts."""

    def run(self, endpoint: str | None) -> UsageRun:
        return UsageRun(None, endpoint, current_run())


tell_watchers(_WatchedRuns(), lambda around: UsageRun(None, None, around))


@public("usage")
def report_usage(usage: Usage, model: str | None = None) -> None:
    """
    Report the usage of an answer, from inside the decorated function that got it.

    For answers whose usage cannot be read, or that the function does not return. It counts in place of the usage in the
    function's result; several reports add up. Does nothing while nobody counts or watches.

    Args:
        usage: Its tokens.
        model: Model that answered. Default: unknown, so that the answer has no price.

    Raises:
        TypeError: `usage` is not a `Usage`.

    Examples:
        >>> report_usage(Usage(input_tokens=812, output_tokens=40), "llama-3.3-70b")
    """
    if not isinstance(usage, Usage):
        raise TypeError(f"report_usage() needs a Usage, got {kind_of(usage)}")
    run = current_run()
    if isinstance(run, UsageRun):
        run.told(usage, model)
    else:
        _show(usage)


def _show(usage: Usage) -> None:
    if (seen := watching()) is not None:
        seen.usage = usage if seen.usage is None else seen.usage + usage


def _largest(one: Usage, other: Usage) -> Usage:
    return Usage(
        max(one.input_tokens, other.input_tokens),
        max(one.output_tokens, other.output_tokens),
        max(one.cache_read_tokens, other.cache_read_tokens),
        max(one.cache_write_tokens, other.cache_write_tokens),
        max(one.reasoning_tokens, other.reasoning_tokens),
    )


def _model_of(result: Any) -> str | None:
    """The model in a result or a stream event; None if it is not given."""
    model = field(result, "model", "model_version", "modelVersion")
    for holder in ("response", "message"):  # events of streams hold the result
        if model is None:
            model = field(field(result, holder), "model")
    return model if isinstance(model, str) and model else None
