"""A tokenizer learned from texts, with the signs that `vocabulary.py` looks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ssl_jax.data.text.tokenizer import library
from ssl_jax.data.text.vocabulary import SIGNS
from ssl_jax.errors import UserError

_BYTES = 256  # that a byte-level BPE begins with


class Asked(NamedTuple):
    """What `bpe:8192` asks for: the kind, and how many tokens, signs and `sentinels` among them."""

    kind: str
    size: int
    sentinels: int


def asked(text: str, sentinels: int) -> Asked | None:
    """`bpe:8192` or `wordpiece:8192`; None for what is neither, and so a path. UserError for a size that is none."""
    kind, colon, size = text.partition(":")
    if kind not in TRAINERS or not colon:
        return None
    least = len(SIGNS) + sentinels + (_BYTES if kind == "bpe" else 1)
    if not size.isdecimal() or not least <= int(size) <= 1 << 20:
        raise UserError(
            f"--tokenizer {text}: write {kind}:N with N from {least} to {1 << 20}; 8192 and 32768 are usual"
        )
    return Asked(kind, int(size), sentinels)


def trained(what: Asked, texts: Iterable[str]) -> Any:
    """A `tokenizers.Tokenizer`. The signs come first; sentinels are the last ids, the first sentinel the very last."""
    tokenizer = TRAINERS[what.kind](what.size - what.sentinels, texts)
    tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in reversed(range(what.sentinels))])
    return tokenizer


def _signs() -> list[str]:
    return [names[0] for names in SIGNS.values()]


def _bpe(size: int, texts: Iterable[str]) -> Any:
    """Byte-level BPE, as GPT-2's (Radford et al. 2019): any text comes back exactly."""
    hf = library()
    tokenizer = hf.Tokenizer(hf.models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = hf.decoders.ByteLevel()
    alphabet = sorted(hf.pre_tokenizers.ByteLevel.alphabet())
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size, special_tokens=_signs(), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _wordpiece(size: int, texts: Iterable[str]) -> Any:
    """WordPiece of lower-case words without accents, as BERT's (Devlin et al. 2018): case and spacing are lost."""
    hf = library()
    tokenizer = hf.Tokenizer(hf.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = hf.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = hf.decoders.WordPiece()
    trainer = hf.trainers.WordPieceTrainer(vocab_size=size, special_tokens=_signs(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


TRAINERS = {"bpe": _bpe, "wordpiece": _wordpiece}
