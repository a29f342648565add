"""Transcripts without alignment: the CTC loss, the best path, and error rates by edit distance.

Symbols are whole numbers: 0 is the blank and fills texts up, 1 is what stands between words, the others are characters. A frame
that is no part of a record says blank with certainty (`models/heads.SymbolHead`), which leaves every sum as it is without it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean, mean_of

BLANK, SPACE = 0, 1
IMPOSSIBLE = 1e4  # nats that no text costs which fits into its frames


def ctc(logits: Array, symbols: Array) -> Mean:
    """Nats of texts [B, L] by all alignments with logits [B, N, K], over their symbols (Graves et al. 2006, eq. 8).

    A text that its record has not enough frames for does not count.
    """
    none = jnp.zeros(logits.shape[:2])
    wider = logits.astype(wide(logits.dtype))
    nats = optax.ctc_loss(wider, none, symbols, (symbols == BLANK).astype(wider.dtype), blank_id=BLANK)
    fits = nats < IMPOSSIBLE
    return Mean(
        jnp.where(fits, nats, 0).sum(), jnp.where(fits, (symbols != BLANK).sum(-1), 0).sum().astype(wider.dtype)
    )


def best_path(logits: Array) -> Array:
    """The likeliest symbol of each frame, without repetitions and blanks, then blanks, [B, N]: greedy decoding."""
    path = logits.argmax(-1)
    before = jnp.pad(path, ((0, 0), (1, 0)))[:, :-1]
    return closed_up(jnp.where(path == before, BLANK, path))


def closed_up(symbols: Array) -> Array:
    """Rows [..., L] with their blanks moved to the end."""
    order = jnp.argsort(symbols == BLANK, axis=-1, stable=True)
    return jnp.take_along_axis(symbols, order, axis=-1)


def words(symbols: Array) -> Array:
    """The words of texts [B, L] as numbers uint32 [B, L], then zeros. Two words share a number by a chance of 1 in 4 billion."""

    def step(number: Array, symbol: Array) -> tuple[Array, Array]:
        inside = symbol > SPACE
        number = jnp.where(inside, number * jnp.uint32(31) + symbol.astype(jnp.uint32), 0)
        return number, number

    _, numbers = jax.lax.scan(step, jnp.zeros(len(symbols), jnp.uint32), symbols.T)
    over = jnp.pad(symbols, ((0, 0), (0, 1)))[:, 1:] <= SPACE
    return closed_up(jnp.where(over, numbers.T, 0))


def edit_distance(texts: Array, references: Array) -> Array:
    """Insertions, deletions and substitutions [B] between texts [B, M] and references [B, L], both filled up with zeros.

    >>> edit_distance(jnp.array([[5, 6, 0]]), jnp.array([[6, 7, 8]])).tolist()
    [3]
    """
    places = jnp.arange(references.shape[1] + 1)

    def one(text: Array, reference: Array) -> Array:
        def step(row: Array, symbol: Array) -> tuple[Array, None]:
            above = jnp.minimum(row[1:] + 1, row[:-1] + (reference != symbol))
            # What comes from the left costs 1 a place: the least of all on the left, counted from place 0.
            new = jax.lax.cummin(jnp.concatenate([row[:1] + 1, above]) - places) + places
            return jnp.where(symbol == 0, row, new), None

        return jax.lax.scan(step, places, text)[0][(reference != 0).sum()]

    return jax.vmap(one)(texts, references)


def error_rates(logits: Array, symbols: Array) -> dict[str, Mean]:
    """`cer` and `wer`: edits of the best path for each character, and for each word, of the references [B, L]."""
    found, kind = best_path(logits), wide(logits.dtype)
    pairs = {"cer": (found, symbols), "wer": (words(found), words(symbols))}
    return {name: _rate(*pair, kind) for name, pair in pairs.items()}


def _rate(texts: Array, references: Array, kind: jnp.dtype) -> Mean:
    edits, count = edit_distance(texts, references), (references != 0).sum()
    return mean_of(edits.astype(kind))._replace(weight=count.astype(kind))
