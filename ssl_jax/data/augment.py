"""The contract of what stands between records and an encoder: the one place, with a model's front end, that knows a modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from jax import Array

from ssl_jax.data.panels import Panel

Batch = dict[str, Any]  # field -> [B, ...]: numpy's on the host, jax's on the devices
Views = dict[str, Array]
View = Array | tuple[Array, ...]  # what an encoder is given at once: an array, or several where `inputs` names several


class Augment(Protocol):
    """Batches of records on the device -> views for an encoder. A frozen dataclass, so that it can be closed over by `jit`.

    `inputs` names the arrays that one view is for an encoder, in the order of its arguments: `("image",)`,
    `("tokens", "valid")`, `("wave",)`. What an example becomes depends on its key and record alone.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that one view is."""
        ...

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """V views of every record: `{name: [B, V, ...]}` for each of `inputs`, drawn from the keys [B] of the examples.

        Views of other kinds (small crops, a masked form) follow under other names: `<kind>` where a view is one array,
        `<kind>/<input>` where it is several.
        """
        ...

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The `inputs` [B, ...] of every record, without randomness.

        As large as the views of `policy`, if a kind is named; that of the main views is the first of `inputs`.
        """
        ...

    def plain(self, batch: Batch) -> Array:
        """Numbers [B, F] of every record without any encoder: pixels, a bag of words, log-mel means."""
        ...

    # Optional: `fitted(plain of the probe split [N, F])` gives what is then done to `plain` [M, F] of any
    # records: weights of words.
    #
    # Optional: `check(records)` raises UserError for records (some, as a source gives them) that it would misread.
    #
    # Optional: `content(batch)` [B, ...] is what makes two records the same to it, as they are stored; without it the
    # inputs of `evaluation` are.
    #
    # Optional: `host(mode)` is what `data.crop=host` does of it before records are stacked: an object without jax, for worker
    # processes, with `draws(keys uint32 [R, 2]) -> [R, ...]` and `(record, row of draws) -> record`. `__call__` then finds in
    # the batch what that made in the place of what it was made from, and has to give the same views.

    def panel(self, views: Views) -> dict[str, Panel]:
        """What the model is given, for people: the views `inputs`, and those of other kinds. Runs on the host."""
        ...


class Normalised(Augment, Protocol):
    """An augment whose main view is one normalised array [B, V, *axes, C]: a series, a picture, a spectrogram, a clip."""

    def denormalise(self, x: Array) -> Array:
        """Normalised [..., C] -> as people are shown it, greys or colours in [0, 1]."""
        ...

    def upright(self, x: Array) -> Array:
        """Planes [..., h, w, C] with their axes as people look at them."""
        ...


@dataclass(frozen=True)
class KindOfView:
    """What `augment.evaluation` gives for views of another kind than the main one; compares like a value, as `jit` needs."""

    augment: Augment
    kind: str

    def __call__(self, batch: Batch) -> Batch:
        """The `inputs` [B, ...] of every record."""
        return self.augment.evaluation(batch, policy=self.kind)


def given(arrays: Batch | Views, inputs: tuple[str, ...]) -> View:
    """What an encoder of these `inputs` is given: the array of that name, or a tuple of them where there are several."""
    found = tuple(arrays[name] for name in inputs)
    return found[0] if len(found) == 1 else found


def other_kinds(views: Views, inputs: tuple[str, ...]) -> dict[str, View]:
    """The views of other kinds than the main ones, by kind in the order of their names."""
    kinds = sorted({name.partition("/")[0] for name in views}.difference(inputs))
    named = {kind: (kind,) if len(inputs) == 1 else tuple(f"{kind}/{name}" for name in inputs) for kind in kinds}
    return {kind: given(views, names) for kind, names in named.items() if views.keys() >= set(names)}
