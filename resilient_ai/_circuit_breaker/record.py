"""The outcomes of a circuit's calls: counts over its life, and the latest outcomes."""

from __future__ import annotations

from array import array

from resilient_ai._core.clock import NEVER
from resilient_ai._core.fast_path import MOST_ANSWER_TIMES
from resilient_ai._core.imports import met_an_import
from resilient_ai._core.quantiles import quantile
from resilient_ai._core.sharing import EVIDENCE_SPANS, Evidence

_RECENT = 100  # calls
_RECENT_SECONDS = 300.0


class CallRecord:
    """
    Counts of one circuit. The circuit's lock guards everything except `answer_times` and `rejected`.

    Attributes:
        answer_times: Times of good answers: end, begin, end, begin and so on. An array would need a quarter of the
            memory, but appending would take three times as long.
        failures: Calls that failed.
        neutral: Calls that told nothing about the provider.
        slow: Calls longer than slow_call_seconds.
        late: Results from before the latest change of state.
        rejected: Calls refused.
        opened_count: Times the circuit opened.
        failed_in_a_row: Calls that failed since a call was answered that had begun after the first of these
            failures, late results included.
    """

    __slots__ = (
        "_answers_before",
        "_failure_times",
        "_row_began",
        "answer_times",
        "failed_in_a_row",
        "failures",
        "late",
        "neutral",
        "opened_count",
        "rejected",
        "slow",
    )

    def __init__(self) -> None:
        self.answer_times: list[float] = []
        self._answers_before = 0  # good answers whose times have been dropped
        self._failure_times: array[float] | tuple[()] = ()  # most circuits of a keyed breaker never see a failure
        self.failures = self.neutral = self.slow = 0
        self.late = self.rejected = self.opened_count = 0
        self.failed_in_a_row = 0
        self._row_began = 0.0  # when the first of these failed

    def answered(self, now: float, seconds: float) -> None:
        """Count a good answer after so many seconds."""
        self.answer_times.append(now)
        self.answer_times.append(now - seconds)
        self.shows_life(now - seconds)

    def shows_life(self, began: float) -> None:
        """A call that began then was answered, in whatever state the circuit is now."""
        if began >= self._row_began:
            self.failed_in_a_row = 0

    def make_room(self) -> list[float] | None:
        """Drop the older half of the times if there are too many; returns the dropped ones."""
        if len(self.answer_times) < MOST_ANSWER_TIMES:
            return None
        dropped = self.answer_times[: MOST_ANSWER_TIMES // 2]
        del self.answer_times[: MOST_ANSWER_TIMES // 2]
        self._answers_before += MOST_ANSWER_TIMES // 4
        return dropped

    def failed(self, now: float) -> None:
        """Count a failure of the provider."""
        self.failures += 1
        self.shows_none(now)
        times = self._failure_times or array("d")
        times.append(now)
        del times[:-_RECENT]
        self._failure_times = times

    def shows_none(self, now: float) -> None:
        """A call failed, in whatever state the circuit is now."""
        if not self.failed_in_a_row:
            self._row_began = now
        self.failed_in_a_row += 1

    @property
    def answers(self) -> int:
        """Number of good answers."""
        return self._answers_before + len(self.answer_times) // 2

    @property
    def calls(self) -> int:
        """Number of calls that have ended, without the late ones."""
        return self.answers + self.failures + self.neutral

    def _latest_answers(self) -> list[tuple[float, float]]:
        """(when it began, when it ended) of the last hundred good answers."""
        # Another thread may be between its two appends: an odd number leaves the newest time out.
        times = self.answer_times[: len(self.answer_times) // 2 * 2][-2 * _RECENT :]
        return [(began, ended) for ended, began in zip(times[::2], times[1::2], strict=True)]

    @property
    def latest_answer(self) -> float:
        """When the latest good answer came, in monotonic seconds; `NEVER` without any."""
        latest = self._latest_answers()[-1:]
        return latest[0][1] if latest else NEVER

    def evidence(self, now: float, since: float) -> Evidence:
        """
        The evidence for the fleet: calls and failures of the last 0.5, 2 and 8 seconds, in any state of the circuit.

        A window that reaches back further than one of the two lists is cut for both; otherwise the share would be
        wrong.

        Args:
            now: Monotonic seconds.
            since: Earlier outcomes do not count, in monotonic seconds.
        """
        answers, failures = [ended for _, ended in self._latest_answers()], list(self._failure_times)
        if len(answers) == _RECENT:
            since = max(since, answers[0])
        if len(failures) == _RECENT:
            since = max(since, failures[0])
        counts = []
        for span in EVIDENCE_SPANS:
            oldest = max(since, now - span)
            failed = sum(when > oldest for when in failures)
            counts += [failed + sum(when > oldest for when in answers), failed]
        newest = now - EVIDENCE_SPANS[0]
        old_failed = sum(since < when <= newest for when in failures)
        old = old_failed + sum(since < when <= newest for when in answers)
        return Evidence(tuple(counts), old_failed / old if old else 0.0)

    def recent(self, now: float) -> tuple[int, int]:
        """(calls, good answers) of the last 5 minutes, at most 100 calls."""
        outcomes = [(ended, True) for _, ended in self._latest_answers()]
        outcomes += [(when, False) for when in self._failure_times]
        fresh = [good for when, good in sorted(outcomes)[-_RECENT:] if now - when <= _RECENT_SECONDS]
        return len(fresh), sum(fresh)

    def p95(self) -> float | None:
        """
        The seconds that 95 of the last 100 good answers did not exceed; None without any.

        Answers that had to wait for an SDK to be imported are left out.
        """
        answers = (each for each in self._latest_answers() if not met_an_import(*each))
        return quantile((max(0.0, ended - began) for began, ended in answers), 0.95)
