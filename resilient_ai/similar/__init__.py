"""
Similar answers: during an outage, the answer that an earlier question of the same meaning got.

`SimilarAnswers` is the rung for `degrade_to`; the other names serve users who bring their own embedder, guard or
store.
"""

from ._embedders import Embedder
from ._guard import REASONS, look_alike
from ._memory import MemoryStore
from ._minilm import MiniLMEmbedder
from ._qdrant import QdrantStore
from ._similar import SimilarAnswers, SimilarStats
from ._sqlite import SQLiteStore
from ._store import Entry, StoreProtocol
from ._trigrams import TrigramEmbedder

__all__ = [
    "REASONS",
    "Embedder",
    "Entry",
    "MemoryStore",
    "MiniLMEmbedder",
    "QdrantStore",
    "SQLiteStore",
    "SimilarAnswers",
    "SimilarStats",
    "StoreProtocol",
    "TrigramEmbedder",
    "look_alike",
]
