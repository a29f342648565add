"""Invertible changes of arrays between their layouts and ours. Each takes and gives a tuple of arrays, and moves numbers only.

Their linear layers are [out, in], and convolutions [out, in, *window], as in torch; ours are [in, out] and [*window, in, out].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import numpy as np

Arrays = tuple[np.ndarray, ...]
Change = Callable[[Arrays], Arrays]


class Transform(NamedTuple):
    """Their arrays -> ours, and back."""

    read: Change
    write: Change


def chain(*transforms: Transform) -> Transform:
    """One after the other, in the order of reading."""
    return Transform(
        lambda arrays: reduce(lambda x, t: t.read(x), transforms, arrays),
        lambda arrays: reduce(lambda x, t: t.write(x), reversed(transforms), arrays),
    )


def each(read: Callable[[np.ndarray], np.ndarray], write: Callable[[np.ndarray], np.ndarray]) -> Transform:
    """The same change of every array."""
    return Transform(lambda arrays: tuple(map(read, arrays)), lambda arrays: tuple(map(write, arrays)))


def apart(*transforms: Transform) -> Transform:
    """A change of its own for each of several arrays."""
    return Transform(
        lambda arrays: tuple(t.read((x,))[0] for t, x in zip(transforms, arrays, strict=True)),
        lambda arrays: tuple(t.write((x,))[0] for t, x in zip(transforms, arrays, strict=True)),
    )


same = each(lambda x: x, lambda x: x)
transpose = each(lambda x: x.T, lambda x: x.T)
convolution = each(
    lambda x: x.transpose(*range(2, x.ndim), 1, 0), lambda x: x.transpose(-1, -2, *range(x.ndim - 2))
)  # [out, in, *window] <-> [*window, in, out]


def split_last(*parts: int) -> Transform:
    """[..., n] <-> [..., *parts, n / product of parts]."""
    count = len(parts)
    return each(
        lambda x: x.reshape(*x.shape[:-1], *parts, x.shape[-1] // math.prod(parts)),
        lambda x: x.reshape(*x.shape[: -1 - count], -1),
    )


def split_first(part: int) -> Transform:
    """[n, ...] <-> [part, n / part, ...]."""
    return each(lambda x: x.reshape(part, x.shape[0] // part, *x.shape[1:]), lambda x: x.reshape(-1, *x.shape[2:]))


def stack(axis: int) -> Transform:
    """Several arrays <-> one, side by side along a new axis."""
    return Transform(lambda arrays: (np.stack(arrays, axis),), lambda arrays: tuple(np.moveaxis(arrays[0], axis, 0)))


def order_last(order: np.ndarray) -> Transform:
    """The numbers of the last axis in another order."""
    back = np.argsort(order)
    return each(lambda x: x[..., order], lambda x: x[..., back])


def shape(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Transform:
    """The same numbers in another shape; -1 for one size each."""
    return each(lambda x: x.reshape(ours), lambda x: x.reshape(theirs))


def patches(*sides: int) -> Transform:
    """The kernel of a patch embedding [D, C, *sides] <-> [sides x C, D]: the channel is the fastest, as in `grid.patchify`."""

    def read(x: np.ndarray) -> np.ndarray:
        if x.shape[2:] != sides:
            raise ValueError(f"patches of {x.shape[2:]} where the model has {sides}")
        return x.transpose(*range(2, x.ndim), 1, 0).reshape(-1, len(x))

    def write(x: np.ndarray) -> np.ndarray:
        return convolution.write((x.reshape(*sides, -1, x.shape[-1]),))[0]

    return each(read, write)


# A table of positions [1, 1 + N, D] whose first row is the class token's <-> that row [1, 1, D], and the others [N, D].
class_first = Transform(
    lambda arrays: (arrays[0][:, :1], arrays[0][0, 1:]),
    lambda arrays: (np.concatenate([arrays[0][0], arrays[1]])[None],),
)


def class_or_none(rows: int) -> Transform:
    """`class_first`, and a table of so many rows, in which there is none for the class token: zeros in ours."""

    def read(arrays: Arrays) -> Arrays:
        bare = arrays[0].shape[1] == rows
        return (np.zeros_like(arrays[0][:, :1]), arrays[0][0]) if bare else class_first.read(arrays)

    return Transform(read, class_first.write)


def query_first(heads: int) -> Transform:
    """Queries, keys and values in one layer [3 D, D] with its bias <-> kernel and bias of the queries [D, H, d] and [H, d], and
    of keys and values [D, 2, H, d] and [2, H, d]."""

    def read(arrays: Arrays) -> Arrays:
        weight, bias = arrays
        width = weight.shape[1]
        query, pair = weight[:width].T, weight[width:].T
        return (
            query.reshape(width, heads, -1), bias[:width].reshape(heads, -1),
            pair.reshape(width, 2, heads, -1), bias[width:].reshape(2, heads, -1),
        )  # fmt: skip

    def write(arrays: Arrays) -> Arrays:
        query, first, pair, second = arrays
        width = len(query)
        weight = np.concatenate([query.reshape(width, -1).T, pair.reshape(width, -1).T])
        return weight, np.concatenate([first.reshape(-1), second.reshape(-1)])

    return Transform(read, write)


def after(rows: int) -> Transform:
    """A table whose first rows are never read: gone in ours, zeros in theirs."""
    return each(lambda x: x[rows:], lambda x: np.concatenate([np.zeros((rows, *x.shape[1:]), x.dtype), x]))


def without(shape: tuple[int, ...]) -> Transform:
    """What we have and they do not: zeros in ours, nothing in theirs. ValueError for numbers that would be lost."""

    def write(arrays: Arrays) -> Arrays:
        if np.any(arrays[0]):
            raise ValueError("it is not zero, and the other model has none")
        return ()

    return Transform(lambda arrays: (np.zeros(shape, np.float32),), write)


def constant(value: Callable[[], np.ndarray]) -> Transform:
    """What they keep in a file and we compute: nothing in ours."""
    return Transform(lambda arrays: (), lambda arrays: (value(),))
