"""
How often a remembered answer serves, how often it is right, and how long that takes.

    python -m tests.bench.similar                                          pairs of questions in tests/data
    python -m tests.bench.similar quality --data DIR [--embedder trigrams] [--wrong]
    python -m tests.bench.similar latency [--entries 1000 10000 100000]

`DIR` (or the environment's RESILIENT_AI_SIMILAR_DATA) holds CSV files: pairs `NAME_train.csv` and `NAME_test.csv` with
columns `text,intent` (an answer may serve a question of the same intent), and files with columns
`asked_before,asked_now,may_share_answer,kind`.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from resilient_ai import NO_ANSWER
from resilient_ai._degrade_to.contract import FailedCall, Recalled
from resilient_ai.similar import MiniLMEmbedder, SimilarAnswers, TrigramEmbedder

DATA = Path(__file__).parents[1] / "data"
PAIRS = ("look_alikes_2.csv", "look_alikes_3.csv", "look_alikes_4.csv")
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("default", {}),
    ("strict guard", {"guard": "strict"}),
    ("no guard", {"guard": None}),
    ("plain cosine 0.80", {"guard": None, "threshold": 0.80}),
)


class Remembering:
    """An embedder that reads every text once in a run; the settings are compared on the same vectors."""

    def __init__(self, embedder: Any) -> None:
        self.id = embedder.id
        self.default_threshold = embedder.default_threshold
        self.covers = embedder.covers
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def embed(self, texts: list[str]) -> list[Any]:
        for text in texts:
            if text not in self._known:
                self._known[text] = self._embedder.embed([text])[0]
        return [self._known[text] for text in texts]


def call(text: str, scope: object = None) -> FailedCall:
    return FailedCall("bench", (), {}, {"text": text, "scope": scope}, now=time.monotonic())


def recall_all(memory: SimilarAnswers, calls: list[FailedCall]) -> list[Any]:
    async def ask() -> list[Any]:
        answers = []
        for each in calls:
            found = memory.recall(each)
            answers.append(await found if hasattr(found, "__await__") else found)
        return answers

    return anyio.run(ask)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def taught(memory: SimilarAnswers, pairs: list[tuple[FailedCall, str]]) -> None:
    for number, (asked, answer) in enumerate(pairs):
        memory.remember(asked, answer)
        if number % 500 == 499:
            memory.flush(600)
    memory.flush(600)


def pairs(names: list[str], *, show_wrong: bool) -> None:
    """Both directions of every pair: the first one's answer is remembered, the second one is asked."""
    made: dict[str, Any] = {"trigrams": "trigrams", "minilm": Remembering(MiniLMEmbedder())}
    print(f"{'':20} {'pairs of':34} " + "  ".join(f"{name:>22}" for name in names))
    for path in PAIRS:
        every = [
            (row["same"] == "1", row["kind"], one, other)
            for row in rows(DATA / path)
            for one, other in ((row["question"], row["other"]), (row["other"], row["question"]))
        ]
        served = {name: _served(every, made[name], show_wrong=show_wrong) for name in names}
        for same, what in ((False, "look-alike"), (True, "rewording")):
            mine = [number for number, pair in enumerate(every) if pair[0] == same]
            kinds = dict.fromkeys(every[number][1] for number in mine)
            for title, chosen in (
                *((kind, [number for number in mine if every[number][1] == kind]) for kind in kinds),
                ("all in English", [number for number in mine if not every[number][1].startswith("lang_")]),
                ("all in other languages", [number for number in mine if every[number][1].startswith("lang_")]),
            ):
                cells = [sum(served[name][number] for number in chosen) for name in names]
                shares = "  ".join(f"{each:6} of {len(chosen):4} = {each / max(1, len(chosen)):6.1%}" for each in cells)
                print(f"{path.removesuffix('.csv'):20} {what + ' ' + title:34} {shares}")


def _served(every: list[tuple[bool, str, str, str]], embedder: Any, *, show_wrong: bool) -> list[bool]:
    with SimilarAnswers(embedder=embedder, max_entries=1_000_000, max_bytes=1 << 34) as memory:
        taught(memory, [(call(one, number), "served") for number, (_, _, one, _) in enumerate(every)])
        found = recall_all(memory, [call(other, number) for number, (_, _, _, other) in enumerate(every)])
    served = [each is not NO_ANSWER for each in found]
    if show_wrong:
        for (same, kind, one, other), each in zip(every, served, strict=True):
            if each != same:
                print(f"  {'lost ' if same else 'wrong'} {kind}: {one!r} / {other!r}")
    return served


def intents(train: Path, test: Path, settings: dict[str, Any], *, show_wrong: bool) -> str:
    """Nearest of the train questions for every test question."""
    with SimilarAnswers(max_entries=1_000_000, max_bytes=1 << 34, **settings) as memory:
        taught(memory, [(call(row["text"]), row["intent"]) for row in rows(train)])
        asked = rows(test)
        found = recall_all(memory, [call(row["text"]) for row in asked])
    hits = [(row, each) for row, each in zip(asked, found, strict=True) if isinstance(each, Recalled)]
    wrong = [(row, each) for row, each in hits if each.answer != row["intent"]]
    if show_wrong:
        for row, each in wrong:
            print(f"  wrong {each.similarity:.3f} {row['text']!r}: {row['intent']}, got {each.answer}")
    precision = 1 - len(wrong) / len(hits) if hits else 1.0
    return f"hit {len(hits) / len(asked):6.1%}  precision {precision:6.1%}  wrong of all {len(wrong) / len(asked):5.2%}"


def look_alikes(path: Path, settings: dict[str, Any], *, show_wrong: bool) -> list[str]:
    """Every pair in a scope of its own: does the first one's answer serve the second?"""
    pairs = rows(path)
    with SimilarAnswers(max_entries=1_000_000, max_bytes=1 << 34, **settings) as memory:
        taught(memory, [(call(row["asked_before"], number), "served") for number, row in enumerate(pairs)])
        found = recall_all(memory, [call(row["asked_now"], number) for number, row in enumerate(pairs)])
    total: Counter[tuple[str, str]] = Counter()
    served: Counter[tuple[str, str]] = Counter()
    for row, each in zip(pairs, found, strict=True):
        kind = row["may_share_answer"], row["kind"]
        total[kind] += 1
        served[kind] += each is not NO_ANSWER
        if show_wrong and each is not NO_ANSWER and row["may_share_answer"] == "0":
            print(f"  wrong {each.similarity:.3f} {row['asked_before']!r} / {row['asked_now']!r}")
    lines = []
    for (may, kind), count in sorted(total.items()):
        rule, those = "may share" if may == "1" else "must not", served[may, kind]
        lines.append(f"{kind:38} {rule}  served {those:4} of {count:4} = {those / count:6.2%}")
    return lines


def quality(data: Path, names: list[str], *, show_wrong: bool) -> None:
    embedders = {"trigrams": TrigramEmbedder, "minilm": MiniLMEmbedder}
    for name in names:
        embedder = "trigrams" if name == "trigrams" else Remembering(embedders[name]())
        for title, settings in SETTINGS:
            print(f"\n{name}, {title}")
            chosen = {"embedder": embedder, **settings}
            for train in sorted(data.glob("*_train.csv")):
                test = train.with_name(train.name.replace("_train", "_test"))
                figures = intents(train, test, chosen, show_wrong=show_wrong and title == "default")
                print(f"  {train.name.removesuffix('_train.csv'):16} {figures}")
            for path in sorted(data.glob("*.csv")):
                with path.open(encoding="utf-8") as file:
                    if "asked_before" not in file.readline():
                        continue
                for line in look_alikes(path, chosen, show_wrong=show_wrong and title == "default"):
                    print(f"  {line}")


def latency(sizes: list[int], rounds: int) -> None:
    rng = random.Random(1)
    syllables = [a + b for a in "bcdfglmnprstv" for b in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(5_000)]
    print("a whole recall in µs, p10 / p50; bytes per entry")
    print("entries       bytes   the same question         another, no hit           a paraphrase")
    for size in sizes:
        questions = [" ".join(rng.choices(words, k=rng.randint(6, 12))) for _ in range(size)]
        with SimilarAnswers(embedder="trigrams", max_entries=10 * size, max_bytes=1 << 34) as memory:
            taught(memory, [(call(text), "answer " * 20) for text in questions])
            asked = rng.sample(questions, rounds)
            fresh = [" ".join(rng.choices(words, k=8)) for _ in range(rounds)]
            near = [f"please {text} " + words[rng.randrange(5_000)][:2] for text in asked]
            figures = [timed(memory, texts) for texts in (asked, fresh, near)]
            held = memory._store.nbytes / size
        print(f"{size:7} {held:13,.0f}   " + "   ".join(f"{p10:13.0f} / {p50:6.0f}     " for p10, p50 in figures))


def timed(memory: SimilarAnswers, texts: list[str]) -> tuple[float, float]:
    """Microseconds of a whole recall: scope, vector, search, guard, answer."""
    memory.recall(call("warm up the caches with this"))
    took = []
    for text in texts:
        asked = call(text)
        start = time.perf_counter()
        memory.recall(asked)
        took.append((time.perf_counter() - start) * 1e6)
    return statistics.quantiles(took, n=10)[0], statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind")
    one = kinds.add_parser("quality")
    one.add_argument("--data", type=Path, default=os.environ.get("RESILIENT_AI_SIMILAR_DATA"))
    other = kinds.add_parser("latency")
    other.add_argument("--entries", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    other.add_argument("--rounds", type=int, default=200)
    for each in (parser, one):
        each.add_argument("--embedder", choices=["trigrams", "minilm"], action="append")
        each.add_argument("--wrong", action="store_true", help="show what is served or refused wrongly")
    chosen = parser.parse_args()
    names = chosen.embedder or ["trigrams", "minilm"] if chosen.kind != "latency" else []
    if chosen.kind == "latency":
        latency(chosen.entries, chosen.rounds)
    elif chosen.kind is None:
        pairs(names, show_wrong=chosen.wrong)
    elif chosen.data is None or not Path(chosen.data).is_dir():
        sys.exit("give --data DIR or RESILIENT_AI_SIMILAR_DATA, a folder of CSV files; see --help")
    else:
        quality(Path(chosen.data), names, show_wrong=chosen.wrong)


if __name__ == "__main__":
    main()
