"""Heads on patch tokens for maps: one linear map at each token, its outputs resized to the map, trained by AdamW.

Several learning rates train side by side (`vmap`) on the same batches; the one with the least loss on a held-out slice of the
records is kept. Shapes: tokens [N, h * w, D], maps [N, H, W].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ssl_jax.errors import UserError

RATES = (1e-3, 1e-2, 1e-1)
Head = dict[str, Array]  # `kernel` [D, K] and `bias` [K], of standardised tokens
Loss = Callable[[Array, Array], Array]  # outputs [B, H, W, K], maps [B, H, W] -> a scalar


class Maps(NamedTuple):
    """Standardised `tokens` [N, h * w, D] of a `grid` (h, w), and the `maps` [N, H, W]."""

    tokens: np.ndarray
    maps: np.ndarray
    grid: tuple[int, int]

    def take(self, rows: np.ndarray) -> Maps:
        """Those of some records."""
        return self._replace(tokens=self.tokens[rows], maps=self.maps[rows])


class Trained(NamedTuple):
    """The head, its learning rate, and the held-out loss of every rate."""

    head: Head
    rate: float
    curve: list[dict[str, float]]


def maps_of(tokens: np.ndarray, maps: np.ndarray, grid: Sequence[int], field: str) -> Maps:
    """Checked. UserError for tokens without a grid of rows and columns, or records without maps."""
    if len(grid) != 2 or maps.ndim != 3:
        raise UserError(
            f"the tokens lie on a grid of {tuple(grid)} places and {field!r} has shape {list(maps.shape[1:])} in a record; an "
            "image encoder with patches, and a map [H, W] in every record, are needed"
        )
    return Maps(tokens, maps, (int(grid[0]), int(grid[1])))


def outputs(head: Head, tokens: Array, grid: tuple[int, int], size: tuple[int, int]) -> Array:
    """Outputs of the head [B, H, W, K] for tokens [B, h * w, D]: linear at each token, then resized."""
    small = tokens @ head["kernel"] + head["bias"]
    return resized(small.reshape(len(tokens), *grid, -1), size)


def resized(x: Array, size: tuple[int, int]) -> Array:
    """x [B, h, w, K] as [B, H, W, K], bilinearly between the centres of cells; beyond the outermost centres it is constant.

    The centre of cell i of n lies at (i + 1/2) / n of the side (`align_corners=False`), which is where the patch that made the
    token lies. Without antialias: maps are larger than grids.
    """
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "bilinear", antialias=False)


def trained(
    data: Maps,
    held: Maps,
    loss: Loss,
    width: int,
    rates: Sequence[float] = RATES,
    steps: int = 400,
    batch: int = 16,
    decay: float = 1e-3,
    seed: int = 0,
) -> Trained:
    """A head of `width` outputs by AdamW with a cosine to 0, `steps` batches of records drawn by `seed`.

    `held` chooses the rate, and is not fitted. Heads start at 0.
    """
    order = batches(len(data.maps), min(batch, len(data.maps)), steps, seed)
    start = {"kernel": jnp.zeros((data.tokens.shape[-1], width)), "bias": jnp.zeros(width)}
    tokens, maps, lanes = jnp.asarray(data.tokens), jnp.asarray(data.maps), jnp.asarray(rates, jnp.float32)
    heads = _fits(loss, data.grid, decay, start, lanes, tokens, maps, order)
    losses = [mean_loss(loss, jax.tree.map(lambda x, i=i: x[i], heads), held, batch) for i in range(len(rates))]
    best = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))
    curve = [{"rate": float(r), "loss": float(v)} for r, v in zip(rates, losses, strict=True)]
    return Trained(jax.tree.map(lambda x: x[best], heads), float(rates[best]), curve)


def batches(count: int, size: int, steps: int, seed: int) -> Array:
    """Rows int32 [steps, size]: epochs in orders of their own, one after the other."""
    rng, epochs = np.random.default_rng(seed), -(-steps * size // count)
    rows = np.concatenate([rng.permutation(count) for _ in range(epochs)])[: steps * size]
    return jnp.asarray(rows.reshape(steps, size), jnp.int32)


@partial(jax.jit, static_argnums=(0, 1, 2))
@partial(jax.vmap, in_axes=(None, None, None, None, 0, None, None, None))
def _fits(
    loss: Loss, grid: tuple[int, int], decay: float, start: Head, rate: Array, tokens: Array, maps: Array, order: Array
) -> Head:
    """The head after all batches `order` [S, B], for each of the rates [R]."""
    optimizer = optax.adamw(lambda step: rate * optax.cosine_decay_schedule(1.0, len(order))(step), weight_decay=decay)

    def value(head: Head, rows: Array) -> Array:
        return loss(outputs(head, tokens[rows], grid, (maps.shape[1], maps.shape[2])), maps[rows])

    def step(carry: tuple[Head, Any], rows: Array) -> tuple[tuple[Head, Any], None]:
        head, state = carry
        updates, state = optimizer.update(jax.grad(value)(head, rows), state, head)
        return (optax.apply_updates(head, updates), state), None

    return jax.lax.scan(step, (start, optimizer.init(start)), order)[0][0]


def mean_loss(loss: Loss, head: Head, held: Maps, batch: int) -> float:
    """Mean over the records of `held`, `batch` at a time."""
    parts = list(predicted(head, held, batch))
    sums = [float(loss(out, jnp.asarray(maps))) * len(maps) for out, maps in parts]
    return sum(sums) / len(held.maps)


def predicted(head: Head, data: Maps, batch: int = 16) -> Any:
    """Outputs [B, H, W, K] and maps [B, H, W], some records at a time."""
    for rows in np.array_split(np.arange(len(data.maps)), -(-len(data.maps) // batch)):
        part = data.take(rows)
        yield _outputs(head, jnp.asarray(part.tokens), data.grid, part.maps.shape[1:]), part.maps


_outputs = jax.jit(outputs, static_argnums=(2, 3))


def halves(count: int, held: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit and rows to choose by, drawn by `seed`; at least one of each."""
    order = np.random.default_rng(seed).permutation(count)
    at = min(max(1, round(held * count)), count - 1)
    return np.sort(order[at:]), np.sort(order[:at])


def standardised(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Tokens [N, T, D] with mean 0 and deviation 1 over all tokens of `train`, as a BatchNorm before the head would make."""
    mean, std = train.mean(axis=(0, 1), dtype=np.float64), train.std(axis=(0, 1), dtype=np.float64)
    scale = np.where(std > 1e-6 * (1 + np.abs(mean)), 1 / np.maximum(std, 1e-12), 0)
    return tuple(((x - mean.astype(np.float32)) * scale.astype(np.float32)) for x in (train, *others))
