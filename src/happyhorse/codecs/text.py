"""Prompts to token ids and back: whole words where they are known, pieces of words where not, UTF-8 bytes for the rest.

Encoding is a greedy longest match over the normalised prompt. A piece of a spaced script carries the space before it
(" ball"), so a word is the same token everywhere in a sentence. An opening quotation mark would hide that space
(``"hello my friend"``), so between it and the word a ``TIGHT`` mark and a space are put; ``decode`` takes them out.

The vocabulary file belongs to the weights that were trained with it: pieces are appended to it, never moved.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Sequence
from importlib import resources

import torch

from happyhorse.errors import PromptError
from happyhorse.types import Text

TEXT_LIMIT = 128
"""Most tokens that a prompt may have, the one that opens it included."""

PAD, BOS, EOS = 0, 1, 2
FIRST_BYTE = 3
FIRST_PIECE = FIRST_BYTE + 256

VOCABULARY_FILE = "text_vocabulary.json"
TIGHT = "\x02"
"""Says that the next space is not there; normalised prompts hold no control characters, so it is free."""

_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»「」『』〝〞", '"') | dict.fromkeys("‘’‚‛", "'"))
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_OPENING = re.compile(rf'(?<= ")(?=[^\s"{_SPACELESS}])')


def normalise(prompt: str) -> str:
    """The prompt as the model sees it: NFKC, lower case, plain quotation marks, single spaces, nothing invisible."""
    text = prompt.encode("utf-8", "replace").decode()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).translate(_QUOTES)
    visible = (" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    return " ".join("".join(visible).split())


def spell(normalised: str) -> str:
    """The text that pieces are matched against: a space before every word, also the first and the quoted ones."""
    return _OPENING.sub(f"{TIGHT} ", f" {normalised}") if normalised else ""


class Tokenizer:
    """Prompts to ids and back. Ids: padding, begin, end, 256 bytes, then the pieces."""

    pad_id = PAD

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = tuple(pieces)
        self._ids = {piece: FIRST_PIECE + index for index, piece in enumerate(pieces)}
        self._longest = max(map(len, pieces), default=0)

    @staticmethod
    @functools.cache
    def load() -> Tokenizer:
        """The tokenizer of the foal, from the package."""
        return Tokenizer(vocabulary())

    @property
    def vocab_size(self) -> int:
        return FIRST_PIECE + len(self._pieces)

    def encode(self, prompt: str) -> list[int]:
        """BOS and the prompt's tokens; an empty prompt is BOS alone. PromptError above ``TEXT_LIMIT`` tokens."""
        text, ids, at = spell(normalise(prompt)), [BOS], 0
        while at < len(text):
            end = self._match(text, at)
            piece = text[at:end]
            ids += [self._ids[piece]] if piece in self._ids else [FIRST_BYTE + byte for byte in piece.encode()]
            at = end
        if len(ids) > TEXT_LIMIT:
            raise PromptError(f"the prompt has {len(ids)} tokens and the limit is {TEXT_LIMIT}; say it in fewer words")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The normalised prompt that ``encode`` read; bytes that are no UTF-8 become U+FFFD."""
        data = b"".join(self._bytes(token) for token in ids)
        return data.decode("utf-8", "replace").replace(f"{TIGHT} ", "").removeprefix(" ")

    def batch(self, prompts: Sequence[str]) -> Text:
        """Token ids [B, L] of several prompts, padded to the longest, with their lengths [B]."""
        rows = [self.encode(prompt) for prompt in prompts]
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        longest = max(map(len, rows), default=0)
        values = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.int64)
        return Text(values.view(len(rows), longest), lengths)

    def captions(self, texts: Sequence[str]) -> Text:
        """As ``batch``, with a mark at the end of each, which a caption is written up to."""
        text = self.batch(texts)
        values = torch.nn.functional.pad(text.values, (0, 1), value=PAD)
        values[torch.arange(len(texts)), text.lengths] = EOS
        return Text(values, text.lengths + 1)

    def _match(self, text: str, start: int) -> int:
        """End of the longest piece that begins at ``start``, or of one character where none does."""
        for end in range(min(start + self._longest, len(text)), start, -1):
            if text[start:end] in self._ids:
                return end
        return start + 1

    def _bytes(self, token: int) -> bytes:
        if token >= FIRST_PIECE:
            return self._pieces[token - FIRST_PIECE].encode() if token < self.vocab_size else b""
        return bytes([token - FIRST_BYTE]) if token >= FIRST_BYTE else b""


def vocabulary() -> list[str]:
    """The pieces of the foal's vocabulary in the order of their ids."""
    return json.loads(resources.files("happyhorse.codecs").joinpath(VOCABULARY_FILE).read_text("utf-8"))
