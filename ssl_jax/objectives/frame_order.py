"""The order of time as a pretext: tell in which order the parts of a clip were put.

Misra, Zitnick, Hebert 2016, "Shuffle and Learn: Unsupervised Learning using Temporal Order Verification", arXiv 1603.08561.
Lee, Huang, Singh, Yang 2017, "Unsupervised Representation Learning by Sorting Sequences", arXiv 1708.01246.
Xu, Xiao, Zhao, Shao, Xie, Zhuang 2019, "Self-Supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR.
Wei, Lim, Zisserman, Freeman 2018, "Learning and Using the Arrow of Time", CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.video.views import ClipViews
from ssl_jax.errors import UserError
from ssl_jax.losses.classification import classification, with_chance
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Batch, Keys, Out, Progress, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, Chain
from ssl_jax.objectives.shared.joint import JointEmbedding

MOST_PARTS = 5  # 120 orders
Order = tuple[int, ...]  # parts by their number p from 0; ~p is part p backwards
Classes = tuple[tuple[Order, ...], ...]  # the orders of each class


def shuffled(parts: int) -> Classes:
    """All orders but the right one, and the right one."""
    right, *others = permutations(range(parts))
    return tuple(others), (right,)


def sorted_parts(parts: int) -> Classes:
    """Every order by itself."""
    return tuple((order,) for order in permutations(range(parts)))


def arrow(parts: int) -> Classes:
    """Backwards and forwards."""
    return (tuple(~p for p in reversed(range(parts))),), (tuple(range(parts)),)


TASKS = {"shuffle": shuffled, "sort": sorted_parts, "arrow": arrow}


@dataclass(frozen=True)
class FrameOrder(JointEmbedding):
    """Cross-entropy over classes of orders of `parts` equal parts of a clip; one order is drawn for each clip.

    task: `"shuffle"` tells clips in order from all others (Shuffle and Learn), `"sort"` all parts! orders apart (Sorting
        Sequences; Clip Order Prediction), `"arrow"` forwards from backwards (the arrow of time).

    Fidelity: the encoder sees the whole clip in its new order, so that what tells the order has to be in its features. Shuffle
    and Learn and Sorting Sequences have an encoder of single frames and a classifier of what it makes of three or four, Clip
    Order Prediction one of short clips, the arrow of time one of optical flow. Parts follow each other in time; they are not
    sampled where much moves. A part of several frames shows which way it goes, so backwards is an order of its own, where
    methods on single frames cannot tell it. Half of the clips are in order, a quarter in Shuffle and Learn. Motion that looks
    the same backwards has no arrow of time to be learned.
    """

    augment: ClipViews
    task: str = "sort"
    parts: int = 4
    hidden: tuple[int, ...] = ()
    head_norm: str = "none"

    bn: BatchNormRule = field(default="joint", kw_only=True)
    compares = "nothing"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"objective.task={self.task!r} is unknown; use one of {', '.join(TASKS)}")
        least = 1 if self.task == "arrow" else 2
        if not least <= self.parts <= MOST_PARTS:
            raise UserError(f"objective.parts={self.parts}: {self.task} takes {least} to {MOST_PARTS} parts")

    @property
    def classes(self) -> Classes:
        """The orders of parts of every class."""
        return TASKS[self.task](self.parts)

    @property
    def modules(self) -> Chain:
        """Encoder and classifier."""
        return {"encoder": self.encoder, "head": self.mlp(self.hidden, len(self.classes), norm=self.head_norm)}

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The first view of each clip with its parts in another order [B, 1, T, h, w, C], and the class of it, `label` [B]."""
        clips = self.augment(keys.example, batch)[self.view][:, 0]
        label, order = jax.vmap(self._drawn)(keys.example)
        return {self.view: reordered(clips, order)[:, None], "label": label}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy, and the accuracy of the pretext task."""
        outs, stats = self.student(params, extra, views[self.view], noise=key)
        loss, accuracy = classification(outs["head"][:, 0], views["label"])
        return Out({"cross_entropy": loss}, {"accuracy": accuracy}, batch_stats=stats)

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The accuracy of the pretext task, BatchNorm on the statistics of these views, and that of guessing."""
        return with_chance(self.loss(params, extra, views, key, Progress(0, 1)).metrics, len(self.classes))

    def _drawn(self, key: Array) -> tuple[Array, Array]:
        """A class, every one as often, and one of its orders [parts], for the key of an example."""
        key_class, key_order = jax.random.split(jax.random.fold_in(key, 1))
        counts = np.array([len(orders) for orders in self.classes])
        table = np.array([[*orders, *orders[:1] * int(counts.max() - len(orders))] for orders in self.classes])
        label = jax.random.randint(key_class, (), 0, len(counts))
        number = jax.random.randint(key_order, (), 0, jnp.asarray(counts)[label])
        return label, jnp.asarray(table)[label, number]


def reordered(clips: Array, order: Array) -> Array:
    """Clips [B, T, ...] with their equal parts in the `order` [B, parts]. UserError where parts are not equal."""
    frames, parts = clips.shape[1], order.shape[1]
    if frames % parts:
        raise UserError(f"objective.parts={parts} does not divide clips of {frames} frames; change parts, or augment")
    size = frames // parts
    forwards, number = order[:, :, None] >= 0, jnp.maximum(order, ~order)[:, :, None]
    place = jnp.where(forwards, jnp.arange(size), jnp.arange(size)[::-1]) + number * size
    return jnp.take_along_axis(clips, place.reshape(-1, frames, *[1] * (clips.ndim - 2)), axis=1)
