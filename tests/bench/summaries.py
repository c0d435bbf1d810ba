"""
How much of a good summary `key_sentences` keeps, beside the first three sentences and three at random.

    python -m tests.bench.summaries FOLDER [--articles 300]

FOLDER is the BBC News Summary data set as it is handed round ("News Articles" and "Summaries", a folder per topic,
one text file per article, the first line its title). The data is not ours to ship. Its summaries are extracts, so
that ROUGE reads high for whatever extracts; the share of the title's words that a summary keeps is the neutral column.

Scores are F1 of ROUGE-1 and ROUGE-2 over lower-case words, without stemming, the mean over the articles.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from resilient_ai import first_sentences, key_sentences
from resilient_ai._degrade_to.sentences import joined, sentences
from resilient_ai._degrade_to.words import STOP_WORDS

_rng = random.Random(1)


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def rouge(candidate: str, reference: str, length: int) -> float:
    """F1 of the runs of so many words that two texts share."""

    def runs(text: str) -> Counter[tuple[str, ...]]:
        found = words(text)
        return Counter(tuple(found[at : at + length]) for at in range(len(found) - length + 1))

    mine, theirs = runs(candidate), runs(reference)
    shared = (mine & theirs).total()
    return 2 * shared / (mine.total() + theirs.total()) if shared else 0.0


def kept(summary: str, title: str) -> float:
    """Share of the words of a title, small ones left out, that a summary has."""
    wanted = {word for word in words(title) if word not in STOP_WORDS}
    return len(wanted & set(words(summary))) / len(wanted) if wanted else 1.0


def articles(folder: Path, most: int) -> list[tuple[str, str, str]]:
    """Title, text and reference summary of articles spread evenly over the topics."""
    files = sorted((folder / "Summaries").rglob("*.txt"))
    found = []
    for file in files[:: max(1, len(files) // most)][:most]:
        article = folder / "News Articles" / file.relative_to(folder / "Summaries")
        title, _, text = article.read_text(encoding="utf-8", errors="replace").strip().partition("\n")
        found.append((title.strip(), text.strip(), file.read_text(encoding="utf-8", errors="replace")))
    return found


def at_random(text: str) -> str:
    found = sentences(text)
    return joined([found[at] for at in sorted(_rng.sample(range(len(found)), min(3, len(found))))])


def table(given: list[tuple[str, str, str]]) -> str:
    methods: dict[str, Callable[[str], str]] = {
        "random three": at_random,
        "first_sentences": first_sentences,
        "key_sentences": key_sentences,
    }
    lines = [f"| {len(given)} articles | ROUGE-1 | ROUGE-2 | title words | ms |", "|---|---|---|---|---|"]
    for name, method in methods.items():
        started = time.perf_counter()
        made = [method(text) for _, text, _ in given]
        each = (time.perf_counter() - started) / len(given) * 1000
        one, two = (
            statistics.mean(
                rouge(summary, reference, length) for summary, (_, _, reference) in zip(made, given, strict=True)
            )
            for length in (1, 2)
        )
        titles = statistics.mean(kept(summary, title) for summary, (title, _, _) in zip(made, given, strict=True))
        lines.append(f"| {name} | {one:.3f} | {two:.3f} | {titles:.3f} | {each:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--articles", type=int, default=300)
    options = parser.parse_args()
    given = articles(options.folder, options.articles)
    if not given:
        parser.error(f"no summaries below {options.folder}; it should hold the folders 'News Articles' and 'Summaries'")
    print(table(given))
