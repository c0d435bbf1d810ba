"""
Similar answers: what to say during an outage, from what was said before.

`SimilarAnswers` is the rung; the rest is for those who bring an embedder, a guard or a store of their own.
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
