"""Questions for the benchmarks at size: seeded, quickly made, each in two wordings."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from resilient_ai._degrade_to.contract import FailedCall
from resilient_ai.similar import Entry, TrigramEmbedder, _trigrams
from resilient_ai.similar._question import key_of, question_of

ANSWER = "Open Settings, choose Security, and follow the steps that are shown there. " * 3
FRAMES = (
    ("How do I {} the {} {} {}?", "how can I {} my {} {} {}"),
    ("Where can I {} a {} {} {}?", "where may I {} the {} {} {}"),
    ("Can I {} the {} {} {} today?", "may I {} a {} {} {} today?"),
    ("What happens when I {} the {} {} {}?", "what will happen when I {} my {} {} {}?"),
)
VERBS = ("reset", "change", "order", "return", "cancel", "open", "close", "move", "print", "repair", "share", "rent")


class Questions:
    """Question N of a seeded endless list, and the same question in other words."""

    def __init__(self, seed: int = 1) -> None:
        rng = random.Random(seed)
        syllables = [a + b for a in "bcdfglmnprstvz" for b in "aeiou"]
        self._words = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(6_000)]

    def _parts(self, number: int) -> tuple[tuple[str, str], list[str]]:
        rng = random.Random(number)
        # Words differ in how often they are used, as those of a language do.
        words = [self._words[int(len(self._words) * rng.random() ** 2)] for _ in range(3)]
        return FRAMES[number % len(FRAMES)], [rng.choice(VERBS), *words]

    def asked(self, number: int) -> str:
        frame, words = self._parts(number)
        return frame[0].format(*words)

    def in_other_words(self, number: int) -> str:
        frame, words = self._parts(number)
        return frame[1].format(*words)


def call(text: str) -> FailedCall:
    return FailedCall("bench", (), {}, {"text": text}, now=time.monotonic())


class WordVectors:
    """The trigram vector of a text, as the sum of those of its words, which come again and again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], Any] = {}

    def of(self, text: str) -> Any:
        found = _trigrams.words(text)
        little = _trigrams._say_little(found)
        row: Any = sum(self._of_word(word, word in little) for word in found)
        return (row / np.sqrt(row @ row)).astype(np.float32)

    def _of_word(self, word: str, little: bool) -> Any:
        if (word, little) not in self._known:
            row = self._known[word, little] = np.zeros(_trigrams._DIMENSIONS, dtype=np.float32)
            _trigrams._count(word, _trigrams._STOP_WEIGHT if little else 1.0, row)
        return self._known[word, little]


def entries(numbers: range, questions: Questions) -> Iterator[list[Entry]]:
    """What `SimilarAnswers` would put into its store, made quickly, 1,000 at a time."""
    vectors, embedder, now, answer = WordVectors(), TrigramEmbedder(), time.time(), json.dumps(ANSWER)
    same = question_of(call(questions.asked(0)), None, None)
    assert same is not None
    assert np.allclose(vectors.of(same.text), embedder.embed([same.text])[0], atol=1e-6)
    for start in range(numbers.start, numbers.stop, 1_000):
        texts = [questions.asked(number) for number in range(start, min(start + 1_000, numbers.stop))]
        yield [
            Entry(
                same.partition,
                same.owner,
                key_of(text, same.secret),
                {embedder.id: vectors.of(text)},
                answer,
                now,
                text,
            )
            for text in texts
        ]
