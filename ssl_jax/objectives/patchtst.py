"""PatchTST, self-supervised: the values of patches that were zeroed, each channel by itself.

Nie, Nguyen, Sinthong, Kalagnanam 2022, "A Time Series is Worth 64 Words", arXiv 2211.14730, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.masks.noise import random_keep
from ssl_jax.data.panels import Panel, Signals
from ssl_jax.data.series.views import SeriesViews
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.models.patch_tst import PatchHead, PatchTransformer, Surprise
from ssl_jax.models.windows import Instance, instance_normal, joined, patch_count, patches_of
from ssl_jax.objectives.base import Batch, Encoder, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, forward, init_variables, single


@dataclass(frozen=True)
class PatchTST(Objective):
    """Squared error on the patches that were hidden, of series at mean 0 and deviation 1 in each channel of each window.

    Fidelity: as the authors' code and transformers' `PatchTSTForPretraining`: masks are drawn for each channel of each series,
    the mean is over a patch and then over the hidden patches. A missing value counts in no mean. BatchNorm sees padding, too.
    """

    encoder: PatchTransformer
    augment: SeriesViews
    mask_ratio: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise UserError(f"objective.mask_ratio={self.mask_ratio} must be between 0 and 1; the paper uses 0.4")

    @property
    def head(self) -> PatchHead:
        """The linear layer that gives values."""
        return PatchHead(self.encoder.patch, self.encoder.dropout, self.encoder.dtype)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder and the head."""
        return {"encoder": self.encoder, "head": self.head}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of both; the statistics of BatchNorm in `extra`."""
        keys, given = jax.random.split(key), single(self.given(views))
        encoder, stats = init_variables(self.encoder, keys[0], *given)
        states = jax.eval_shape(lambda: self.encoder.apply({"params": encoder, "batch_stats": stats or {}}, *given))
        head, _ = init_variables(self.head, keys[1], jnp.zeros(states.shape, states.dtype))
        return State({"encoder": encoder, "head": head}, {"batch_stats": {"encoder": stats}} if stats else {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """One view [B, 1, T, C] and `noise` [B, C, P]; the patches with the smallest noise are kept."""
        views = self.augment(keys.example, batch)
        steps, channels = views[self.view].shape[2:]
        count = patch_count(steps, self.encoder.patch, self.encoder.stride)
        draw = lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (channels, count))  # noqa: E731
        return views | {"noise": jax.vmap(draw)(keys.example)}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The mean squared error on hidden patches."""
        prediction, hidden, stats = self.predicted(params, extra, views, key)
        return Out({"reconstruction": self.error(prediction, hidden, views)}, batch_stats=stats)

    def predicted(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, Array, Any]:
        """Values [B, C, P, patch] in units of the deviation, which patches were hidden [B, C, P], and the new statistics."""
        hidden, stats = self.hidden(views), extra.get("batch_stats", {}).get("encoder")
        once, again = jax.random.split(key)
        states, new = forward(self.encoder, params["encoder"], stats, *single(self.given(views)), hidden, noise=once)
        values, _ = forward(self.head, params["head"], None, states, noise=again)
        return values, hidden, {} if new is None else {"encoder": new}

    def hidden(self, views: Views) -> Array:
        """Bool [B, C, P]: which patches are hidden."""
        noise = views["noise"]
        return (random_keep(noise.reshape(-1, noise.shape[-1]), self.mask_ratio)[2] > 0).reshape(noise.shape)

    def error(self, prediction: Array, hidden: Array, views: Views) -> Mean:
        """The mean over hidden patches of the mean over the values that are there."""
        sizes = self.encoder.patch, self.encoder.stride
        series, valid = single(self.given(views))
        target, there = patches_of(instance_normal(series, valid).series, *sizes), patches_of(valid, *sizes)
        wrong = jnp.square(prediction.astype(wide(prediction.dtype)) - target) * there
        count = there.sum(axis=-1)
        return mean_of(wrong.sum(axis=-1) / jnp.maximum(count, 1), (hidden & (count > 0)).astype(wrong.dtype))

    def encoders(self) -> dict[str, Encoder]:
        """`student`, and `surprise`: for every step how wrong the model is about it when it does not see its patch."""
        student = super().encoders()["student"]
        stats = ("extra", "batch_stats") if student.stats else ()
        module = Surprise(self.encoder, self.head)
        surprise = Encoder(module, ("params",), student.inputs, student.preprocess, stats, plain=student.plain)
        return {"student": student, "surprise": surprise}

    def preview(self, views: Views) -> dict[str, Panel]:
        """The windows, hidden patches hatched: those of the first channel."""
        series, valid = single(self.given(views))
        return {"masks": Signals(_rows([series], valid), ("window",), hidden=self._hatched(views, 1))}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """The windows, and with predicted patches in the place of hidden ones."""
        series, valid = single(self.given(views))
        variables = {"params": params["encoder"], "batch_stats": extra.get("batch_stats", {}).get("encoder", {})}
        hidden = self.hidden(views)
        states = self.encoder.apply(variables, series, valid, hidden=hidden)
        values = applied(self.head, params["head"], states)
        rows = [series, self._filled(instance_normal(series, valid), values, hidden)]
        panel = Signals(_rows(rows, valid), ("window", "hidden patches predicted"), hidden=self._hatched(views, 2))
        return {"reconstruction": panel}

    def _filled(self, normal: Instance, values: Array, hidden: Array) -> Array:
        """The series [B, T, C] with predicted values where a patch was hidden."""
        steps, stride = normal.series.shape[1], self.encoder.stride
        mask = joined(jnp.broadcast_to(hidden[..., None], values.shape).astype(values.dtype), steps, stride) > 0
        told = joined(jnp.where(hidden[..., None], values, 0), steps, stride)
        return normal.back(jnp.where(mask, told, normal.series))

    def _hatched(self, views: Views, columns: int) -> Any:
        hidden, size = self.hidden(views)[:, :1, :, None], self.encoder.patch
        flat = jnp.broadcast_to(hidden, (*hidden.shape[:3], size)).astype(jnp.float32)
        steps = joined(flat, views[self.view].shape[2], self.encoder.stride)[..., 0] > 0
        return jax.device_get(jnp.repeat(steps[:, None], columns, axis=1))


def _rows(columns: list[Array], valid: Array) -> Array:
    """Rows [B, K, T, C] with gaps where nothing is valid."""
    return jnp.stack([jnp.where(valid, column, jnp.nan) for column in columns], axis=1)
