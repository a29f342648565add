"""Goldens of time series: TS2Vec's loss and its parts, PatchTST of transformers to its loss and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
from published import published, under

from ssl_jax.data.series.views import SeriesViews
from ssl_jax.interop.importing import flat, nested
from ssl_jax.interop.rules import write
from ssl_jax.losses.hierarchical import hierarchical_contrast, instance_contrast, temporal_contrast
from ssl_jax.models.windows import instance_normal, patches_of
from ssl_jax.objectives.base import Progress
from ssl_jax.objectives.patchtst import PatchTST
from ssl_jax.objectives.ts2vec import TS2Vec


def gradients(arrays):
    """What the file says of gradients, by the name of what they are with respect to."""
    named = {name[len("grad") :].lstrip("/_"): x for name, x in arrays.items() if name.startswith("grad")}
    return {name.removeprefix("in/"): x for name, x in named.items()}


def check_ts2vec(entry, arrays, close):
    """Both views as they are, and with steps behind those that both have, which change nothing."""
    z1, z2 = (jnp.asarray(arrays[f"in/{name}"]) for name in ("z1", "z2"))
    steps, share = z1.shape[1], entry["config"]["alpha"]
    objective = TS2Vec(None, SeriesViews(), share=share)
    longer = lambda z: jnp.pad(z, ((0, 0), (0, 5), (0, 0)), constant_values=7.0)  # noqa: E731

    def loss(z1, z2):
        overlap = jnp.broadcast_to(jnp.arange(steps + 5) < steps, (len(z1), steps + 5)).astype(z1.dtype)
        both = {"z": jnp.stack([longer(z1), longer(z2)], axis=1), "overlap": overlap}
        return objective.score({}, {}, both, Progress(0, 1)).total()

    plain = lambda z1, z2: hierarchical_contrast(z1, z2, steps, share)  # noqa: E731
    (value, found), (same, _) = (jax.jit(jax.value_and_grad(each, (0, 1)))(z1, z2) for each in (loss, plain))
    close(value, arrays["out/loss"])
    close(same, arrays["out/loss"])
    close(jax.jit(instance_contrast)(z1, z2, steps), arrays["out/instance_level0"])
    close(jax.jit(temporal_contrast)(z1, z2, steps), arrays["out/temporal_level0"])
    expected = gradients(arrays)
    for name, gradient in zip(("z1", "z2"), found, strict=True):
        along = gradient / jnp.linalg.norm(gradient)
        moved = [
            plain(*(z + s * 1e-5 * along if n == name else z for n, z in (("z1", z1), ("z2", z2)))) for s in (1, -1)
        ]
        np.testing.assert_allclose((moved[0] - moved[1]) / 2e-5, jnp.sum(gradient * along), rtol=1e-6)
        if name in expected:
            close(gradient, expected[name])


def check_patchtst(entry, arrays, close):
    weights = under(arrays, "w/")
    module, variables, found = published(weights, entry["config"])
    objective = PatchTST(module, SeriesViews(), entry["config"]["random_mask_ratio"])
    head = {"linear": {"kernel": weights["head.linear.weight"].T, "bias": weights["head.linear.bias"]}}
    series = jnp.asarray(arrays["in/past_values_btc"])
    views = {"series": series[:, None], "valid": jnp.ones_like(series, bool)[:, None], "noise": arrays["in/mask_noise"]}
    hidden = objective.hidden(views)
    np.testing.assert_array_equal(hidden, arrays["out/mask"])
    target = patches_of(instance_normal(series, views["valid"][:, 0]).series, module.patch, module.stride)
    close(target, arrays["out/targets"])

    @jax.jit
    def as_evaluated(variables):
        states = module.apply(variables, series, views["valid"][:, 0], hidden)
        values = objective.modules["head"].apply({"params": head}, states)
        return objective.error(values, hidden, views).value, values

    value, prediction = as_evaluated(variables)
    close(value, arrays["out/loss_eval_bn"])
    close(prediction, arrays["out/prediction"])

    def trained(arrays_of_theirs, head):
        own = nested(arrays_of_theirs)
        extra = {"batch_stats": {"encoder": own["batch_stats"]}}
        out = objective.loss({"encoder": own["params"], "head": head}, extra, views, jax.random.key(0), Progress(0, 1))
        return out.total()

    loss, (gradient, of_head) = jax.jit(jax.value_and_grad(trained, (0, 1)))(flat(variables), head)
    close(loss, arrays["out/loss_train_bn"])
    named = write(found.family.rules(found.model), gradient)
    named = {found.prefix + name: x for name, x in named.items()}
    named |= {"head.linear.weight": of_head["linear"]["kernel"].T, "head.linear.bias": of_head["linear"]["bias"]}
    for name, expected in gradients(arrays).items():
        close(named[name.removeprefix("w/")], expected)


CHECKS = {"TS2Vec": check_ts2vec, "PatchTST": check_patchtst}
