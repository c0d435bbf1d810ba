"""Embedders: the protocol, the built-in ones, and checks for a user's own."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resilient_ai._core.checks import check_number
from resilient_ai._core.kinds import kind_of
from resilient_ai._core.public import public

from ._minilm import MiniLMEmbedder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LEAST_SAFE = 0.80
_UNKNOWN_THRESHOLD = 0.94  # needed by the measured embedder with the highest similarities between different questions


@public("similar")
@runtime_checkable
class Embedder(Protocol):
    """
    Turns questions into vectors. `embed` may be `async def`; a plain one is called in a thread.

    It may also have `covers(text) -> bool`: whether the vector of that text is meaningful.

    Attributes:
        id: Name and version: vectors of different ids are never compared.
        default_threshold: Least cosine similarity at which two texts usually have the same meaning.
    """

    id: str
    default_threshold: float

    def embed(self, texts: list[str], /) -> Any:
        """One vector per text, or an awaitable of them."""
        ...


EmbedFunction = Callable[[list[str]], Awaitable[Sequence[Sequence[float]]] | Sequence[Sequence[float]]]


class Space:
    """
    One embedder with its threshold; its vectors are scaled to length 1.

    Attributes:
        id: The embedder's id.
        threshold: The least similarity in use.
        remote: Whether the embedder is `async`: it usually calls a provider, and fails with that provider.
    """

    def __init__(self, embedder: Embedder, threshold: float | None, *, allow_unsafe: bool) -> None:
        self.embedder = embedder
        self.id = embedder.id
        self.threshold = threshold if threshold is not None else embedder.default_threshold
        self.remote = inspect.iscoroutinefunction(embedder.embed)
        check_number("threshold", self.threshold, above=0, most=1)
        if self.threshold < _LEAST_SAFE and not allow_unsafe:
            raise ValueError(
                f"threshold must be at least {_LEAST_SAFE} (cosine similarity, 1 is equal), got {self.threshold!r};"
                " below that wrong answers are common: allow_unsafe=True if that is meant"
            )

    def covers(self, text: str) -> bool:
        """Whether the embedder can represent this text."""
        covers = getattr(self.embedder, "covers", None)
        return bool(covers(text)) if covers is not None else True

    def embed(self, texts: list[str]) -> list[npt.NDArray[np.float32] | None]:
        """The vectors of a synchronous embedder; None for a text that it does not cover."""
        covered = [text for text in texts if self.covers(text)]
        vectors = iter(unit_vectors(self.embedder.embed(covered), len(covered)) if covered else ())
        covering = set(covered)
        return [next(vectors) if text in covering else None for text in texts]

    async def embed_remotely(self, text: str) -> npt.NDArray[np.float32] | None:
        """The vector of an async embedder for one text."""
        vectors: Any = await self.embedder.embed([text])
        return unit_vectors(vectors, 1)[0]


def unit_vectors(vectors: Any, count: int) -> list[npt.NDArray[np.float32] | None]:
    """
    The rows as float32 vectors of length 1; None for a row of zeros.

    Raises:
        ValueError: There is not one row of finite numbers per text.
    """
    import numpy as np

    rows = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != count or not np.isfinite(rows).all():
        raise ValueError(
            f"an embedder must return one list of finite numbers per text, got shape {rows.shape} for {count}"
        )
    lengths = np.linalg.norm(rows, axis=1)
    return [row / length if length > 0 else None for row, length in zip(rows, lengths, strict=True)]


class _Function:
    """Wraps an embedding function as an `Embedder`."""

    default_threshold = _UNKNOWN_THRESHOLD

    def __init__(self, function: EmbedFunction) -> None:
        module, name = (
            getattr(function, "__module__", ""),
            getattr(function, "__qualname__", type(function).__qualname__),
        )
        self.id = f"{module}.{name}"
        self.embed: Callable[[list[str]], Any]
        call = function if inspect.isroutine(function) else type(function).__call__
        self.embed = _awaiting(function) if inspect.iscoroutinefunction(call) else function


def _awaiting(function: Callable[[list[str]], Any]) -> Callable[[list[str]], Any]:
    async def embed(texts: list[str]) -> Any:
        return await function(texts)

    return embed


def space_of(given: Any, threshold: float | None, *, allow_unsafe: bool) -> Space | None:
    """
    The space of an embedder; None for trigrams only.

    Raises:
        ImportError: "minilm" is given but not installed.
        ValueError: It is neither a known name nor an embedder.
    """
    if isinstance(given, str):
        if given not in ("auto", "trigrams", "minilm"):
            raise ValueError(f"embedder must be 'auto', 'trigrams', 'minilm', an embedder or a function, got {given!r}")
        if given == "trigrams" or (given == "auto" and not MiniLMEmbedder.installed()):
            return None
        return Space(MiniLMEmbedder(), threshold, allow_unsafe=allow_unsafe)
    if inspect.isclass(given):
        raise ValueError(f"embedder must be an object, got the class {given.__qualname__}; call it")
    if callable(getattr(given, "embed", None)):
        for name, kind in (("id", str), ("default_threshold", float)):
            if not isinstance(getattr(given, name, None), kind) and not (
                name == "default_threshold" and threshold is not None
            ):
                raise ValueError(
                    f"embedder {type(given).__qualname__} needs an attribute {name!r} of type {kind.__name__}"
                )
        return Space(given, threshold, allow_unsafe=allow_unsafe)
    if callable(given):
        function: Any = given
        return Space(_Function(function), threshold, allow_unsafe=allow_unsafe)
    raise ValueError(f"embedder must be 'auto', 'trigrams', 'minilm', an embedder or a function, got {kind_of(given)}")


def require_numpy() -> None:
    """
    Check that numpy is installed, before the first call needs it.

    Raises:
        ImportError: numpy is missing.
    """
    if importlib.util.find_spec("numpy") is None:
        raise ImportError("SimilarAnswers needs numpy: pip install 'resilient-ai[similar]'")
