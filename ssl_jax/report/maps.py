"""What patch tokens say of each place of a picture: their principal components as colours, and what the last block attends to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ssl_jax.data.panels import Pictures

if TYPE_CHECKING:
    from ssl_jax.objectives.base import Encoder

HEADS = 4  # of the attention that are shown each; the first
FEWEST = 4  # patches along a side: fewer are no map
CLIPPED = 2  # percent of the values at either end that are one colour

Grid = tuple[int, int]


def place_maps(encoder: Encoder, variables: dict, fed: Mapping[str, Any], shown: Pictures) -> Pictures | None:
    """Rows of what the encoder is `shown`, beside its maps; None where it has no grid of patches in two directions.

    fed: records as numbers, a batch [R, ...]; `shown.rows` [R, 1, h, w, C] are the same records.
    """
    tokens, grid = patch_tokens(encoder, variables, fed)
    if tokens is None or len(grid) != 2 or min(grid) < FEWEST:
        return None
    height, width = np.shape(shown.rows)[2:4]
    enlarge = partial(enlarged, height=height, width=width)
    columns = {
        "input": _coloured(np.asarray(shown.rows)[:, 0]),
        "patches (PCA)": enlarge(principal_colours(tokens, grid)),
    }
    weights = attention(encoder, variables, fed, grid)
    heads = () if weights is None else np.moveaxis(weights, 1, 0)[:HEADS]
    if weights is not None:
        columns["attention"] = enlarge(heat(weights.mean(1)))
        columns |= {f"head {i}": enlarge(heat(head)) for i, head in enumerate(heads, 1) if len(heads) > 1}
    return Pictures(np.stack(list(columns.values()), axis=1), tuple(columns), _note(weights is not None, encoder))


def patch_tokens(
    encoder: Encoder, variables: dict, fed: Mapping[str, Any]
) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """Tokens [R, T, D] of the last layer, in the order of their grid, and its sides; None where there are none."""
    from ssl_jax.evaluate.readings import Reading, grid_of, read

    reading = Reading("tokens")
    found = jax.jit(partial(read, encoder, readings=[reading]))(variables, dict(fed))
    if reading not in found:
        return None, ()
    return np.asarray(found[reading], np.float32), grid_of(encoder, variables, dict(fed), -1)


def attention(encoder: Encoder, variables: dict, fed: Mapping[str, Any], grid: Grid) -> np.ndarray | None:
    """Weights [R, H, *grid] of the last block: of the class token's query, or the mean of all patches'; None without them."""
    module: Any = encoder.module
    if getattr(module, "depth", 0) < 2 or not hasattr(module, "last_attention"):
        return None
    inputs = encoder.preprocess(dict(fed))
    made = jax.jit(partial(module.apply, method="last_attention"))
    weights = np.asarray(made(variables, *(inputs[k] for k in encoder.inputs)), np.float32)
    queries = weights[:, :, :1] if module.class_token else weights[:, :, module.prefix :]
    return queries.mean(2)[..., module.prefix :].reshape(*weights.shape[:2], *grid)


def principal_colours(tokens: np.ndarray, grid: Grid) -> np.ndarray:
    """[R, *grid, 3] in [0, 1]: the three directions along which the tokens [R, T, D] of all pictures vary most.

    One principal component a channel, as DINOv2 shows its features (arXiv 2304.07193, figure 1); of its two signs the one that
    is greater far from the mean.
    """
    flat = tokens.reshape(-1, tokens.shape[-1])
    centred = flat - flat.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    scores = centred @ directions[:3].T
    scores = scores * np.where((scores**3).sum(0) < 0, -1, 1)
    scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])))
    low, high = np.percentile(scores, (CLIPPED, 100 - CLIPPED), axis=0)
    unit = np.clip((scores - low) / np.maximum(high - low, 1e-12), 0, 1)
    return unit.reshape(len(tokens), *grid, 3)


def heat(maps: np.ndarray) -> np.ndarray:
    """[R, *grid, 3]: each of `maps` [R, *grid] from dark (its least) to bright (its greatest), in colours that all eyes order."""
    from matplotlib import colormaps

    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return np.asarray(colormaps["viridis"]((maps - low) / np.maximum(high - low, 1e-12)))[..., :3]


def enlarged(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """[R, height, width, C] of maps [R, h, w, C]: each place as a rectangle."""
    rows = np.arange(height) * maps.shape[1] // height
    columns = np.arange(width) * maps.shape[2] // width
    return maps[:, rows][:, :, columns]


def _coloured(pictures: np.ndarray) -> np.ndarray:
    """With three channels, whatever they had."""
    return pictures[..., :3] if pictures.shape[-1] >= 3 else np.repeat(pictures.mean(-1, keepdims=True), 3, axis=-1)


def _note(attends: bool, encoder: Encoder) -> str:
    colours = "Patches of like colour are near in feature space (three principal components as red, green and blue)."
    if not attends:
        return colours
    who = "the class token" if getattr(encoder.module, "class_token", False) else "the mean patch"
    return f"{colours} Attention: where {who} looks in the last block, bright is much."
