"""Masked prediction: what is hidden is not seen, what is padding does not count; codes and palettes; the same for text."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.masks.rectangles import slots_of
from ssl_jax.errors import UserError
from ssl_jax.models.grid import patchify, take_tokens, unpatchify
from ssl_jax.models.pixels import PixelTransformer
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Keys, Progress, State
from ssl_jax.objectives.beit import BEiT
from ssl_jax.objectives.data2vec import Data2Vec, over_places
from ssl_jax.objectives.igpt import IGPT
from ssl_jax.objectives.maskfeat import MaskFeat
from ssl_jax.objectives.shared.decoding import GREEDY
from ssl_jax.objectives.simmim import SimMIM
from ssl_jax.recipe import load, parse
from ssl_jax.training.fitting import fitted_to_records
from ssl_jax.training.run import batch_like, build
from ssl_jax.training.step import init_state

PROGRESS, KEY = Progress(0, 10), jax.random.key(0)
PIXELS = ImageViews(16, (0.5,), (0.5,), {"image": {}})
SIZES = {"width": 16, "depth": 2, "heads": 2, "mlp_dim": 24, "remat": "none", "unroll": 2}
VIT = ViT(**SIZES, patch=4, class_token=False)
PATCHES = {
    "simmim": SimMIM(VIT, PIXELS, unit=1),
    "maskfeat": MaskFeat(VIT, PIXELS, smallest=2, cell=2),
    "beit": BEiT(VIT, PIXELS, smallest=2, codes=5),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1)).astype(np.uint8)


def drawn(objective, images=IMAGES):
    """Views, and a state with numbers in the place of those that `init` draws, which takes longer to compile."""
    keys = Keys(jax.random.split(KEY, len(images)), KEY)
    views = jax.jit(lambda x: objective.views(keys, {"image": x}, PROGRESS))(images)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(objective.init, KEY, views)
    return views, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, x.dtype), shapes)


def by_hand(method, told, target, extra):
    """The errors of single patches [B, M], from what is told [B, M, D] and the true patches [B, M, 16]."""
    if method == "simmim":
        return np.abs(told - target).mean(-1)
    codes = ((np.asarray(target)[:, :, None] - np.asarray(extra["tokenizer"]["rows"])) ** 2).sum(-1).argmin(-1)
    return -np.take_along_axis(np.asarray(jax.nn.log_softmax(told)), codes[..., None], axis=-1)[..., 0]


@pytest.mark.parametrize("method", PATCHES)
def test_what_is_hidden_is_not_seen_padding_does_not_count_and_the_loss_is_that_by_hand(method):
    objective = PATCHES[method]
    views, (params, extra) = drawn(objective)
    mask = views["mask"].at[0].set(jnp.arange(16)[None] == 3)  # one hidden patch, and the other slots empty
    patches = patchify(views["image"][:, 0], 4)
    elsewhere = unpatchify(jnp.where(mask[:, 0, :, None], 9.0, patches), 4, (4, 4))[:, None]

    @jax.jit
    def found(image):
        given = {"image": image, "mask": mask}
        slots = objective.hidden(given)
        return slots, objective.told(params, given, slots), objective.loss(params, extra, given, KEY, PROGRESS).losses

    slots, told, losses = found(views["image"])
    np.testing.assert_allclose(told, found(elsewhere)[1], atol=1e-5)
    (term,) = losses.values()
    assert term.weight == mask.sum() == slots.valid.sum()
    assert not slots.valid[0, 1:].any()
    if method != "maskfeat":  # its targets are held by tests/data/image/test_hog.py
        errors = by_hand(method, told, take_tokens(patches, slots.index), extra)
        np.testing.assert_allclose(term.value, errors[np.asarray(slots.valid)].mean(), rtol=1e-5)


@pytest.mark.parametrize("name", ["beit_vit_fashion:tiny", "igpt_vit_fashion:tiny"])
def test_codes_are_fitted_to_records_and_the_same_every_time(name, tmp_path):
    recipe = parse(load(name))
    source, bad = recipe.data.pretrain.build(), BadRecords(0.0, tmp_path / "bad.jsonl")
    setup = build(recipe, len(source))
    shapes = jax.eval_shape(partial(init_state, setup), batch_like(source, recipe.batch_size, bad))
    place = jax.NamedSharding(jax.make_mesh((1,), ("data",), devices=jax.devices()[:1]), jax.P())
    zeros = jax.device_put(
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), State(shapes.params, shapes.extra)), place
    )
    fit = partial(fitted_to_records, setup.objective, source, bad)
    once, again = fit(zeros), fit(zeros)
    assert all(x is y for x, y in zip(*map(jax.tree.leaves, (once.params, zeros.params)), strict=True))
    for x, y, before in zip(*map(jax.tree.leaves, (once.extra, again.extra, zeros.extra)), strict=True):
        assert (x.shape, x.dtype, x.sharding) == (before.shape, before.dtype, before.sharding)
        np.testing.assert_array_equal(x, y)
        assert len(np.unique(np.asarray(x), axis=0)) == len(x)


def test_only_the_blocks_of_data2vecs_teacher_are_its_own():
    objective = Data2Vec(ViT(**SIZES, patch=4, positions="relative", class_token=False), PIXELS, top=1, smallest=2)
    _, (params, extra) = drawn(objective)
    teacher = objective.update(params, extra | {"teacher": {"encoder": extra["teacher"]["encoder"]}}, None, PROGRESS)
    for name, now in teacher.extra["teacher"]["encoder"].items():
        before, student = extra["teacher"]["encoder"][name], params["encoder"][name]
        moved = {"transformer": 0.9998, "relative": 0.9998}.get(name, 0.0)
        jax.tree.map(
            lambda n, b, s, m=moved: np.testing.assert_allclose(n, m * b + (1 - m) * s, rtol=1e-5, atol=1e-7),
            now,
            before,
            student,
        )


def test_data2vec_hides_spans_of_text_but_no_padding():
    recipe = parse(load("data2vec_bert_wordnet:tiny"))
    source = recipe.data.probe.build()  # single glosses, with padding behind them
    objective = build(recipe, len(source)).objective
    batch = {k: jnp.asarray(np.stack([source[i][k] for i in range(4)])) for k in source[0] if k != "label"}
    views = jax.jit(lambda x: objective.views(Keys(jax.random.split(KEY, 4), KEY), x, PROGRESS))(batch)
    segments = views[objective.augment.inputs[1]][:, 0]
    assert not (views["mask"][:, 0] & (segments == 0)).any()
    assert views["mask"].any()
    params, extra = jax.jit(objective.init)(KEY, views)
    other = views | {objective.view: jnp.where(views["mask"], 7, views[objective.view])}

    @jax.jit
    def run(views):
        return objective.student(params, views, KEY), objective.loss(params, extra, views, KEY, PROGRESS).losses[
            "prediction"
        ]

    (states, loss), (same, _) = run(views), run(other)
    np.testing.assert_allclose(states, same, atol=1e-6)
    assert np.isfinite(loss.value)
    assert loss.weight == slots_of(views["mask"], objective.masking(objective.lattice(views)).slots).valid.sum()


def test_over_places_leaves_padding_out():
    x = np.random.default_rng(0).normal(size=(2, 1, 5, 3))
    valid = np.asarray([[True, True, True, False, False]])
    kept = x[:, :, :3]
    expected = (kept - kept.mean(2, keepdims=True)) / np.sqrt(kept.var(2, keepdims=True) + 1e-5)
    np.testing.assert_allclose(over_places(jnp.asarray(x), jnp.asarray(valid))[:, :, :3], expected, rtol=1e-4)


def igpt(**options):
    encoder = PixelTransformer(6, **SIZES, length=16, channels=1, norm="rms", bias=False, mlp="quick_gelu", **options)
    return IGPT(encoder, ImageViews(4, (0.5,), (0.5,), {"image": {}}), mask_ratio=0.5)


def test_a_pixel_is_told_from_those_before_it_and_written_as_it_is_told():
    objective = igpt(causal=True)
    views, (params, extra) = drawn(objective, IMAGES[:, :4, :4])
    variables = {"params": params["encoder"] | extra}
    read = jax.jit(lambda image: objective.encoder.apply(variables, image, method="read"))
    image = views["image"][:, 0]
    states, changed = read(image), read(image.at[:, 2, 1].set(-image[:, 2, 1]))
    np.testing.assert_allclose(
        states[:, :10], changed[:, :10], atol=1e-6
    )  # the pixel is the tenth; it is seen from there on
    assert np.abs(np.asarray(states - changed))[:, 10:].max() > 1e-3

    codes = jax.jit(lambda x: objective.encoder.apply(variables, x, method="codes"))(image)
    new = jax.jit(lambda: objective.sample(params, extra, KEY, codes[:, :8], 8, GREEDY))()
    written = extra["palette"][jnp.concatenate([codes[:, :8], new], axis=1)].reshape(image.shape)
    np.testing.assert_array_equal((read(written) @ params["words"]["table"].T).argmax(-1)[:, 8:], new)


def test_hidden_pixels_are_not_seen_and_pictures_count_alike():
    objective = igpt()
    views, (params, extra) = drawn(objective, IMAGES[:, :4, :4])
    mask = jnp.zeros((3, 16), bool).at[0, 3].set(True).at[1, 2:9].set(True)  # of the third picture nothing is hidden
    views = views | {"mask": mask}

    @jax.jit
    def found(image):
        out = objective.loss(params, extra, views | {"image": image}, KEY, PROGRESS)
        return out.losses["pixels"].weight, out.metrics["accuracy"].weight

    np.testing.assert_allclose(found(views["image"])[0], 2, rtol=1e-6)
    variables = {"params": params["encoder"] | extra}
    states = jax.jit(lambda codes: objective.encoder.apply(variables, codes, ~mask, method="read_partly"))
    codes = jnp.zeros((3, 16), int)
    np.testing.assert_allclose(states(codes), states(jnp.where(mask, 4, codes)), atol=1e-6)


def test_what_does_not_fit_is_refused():
    for make, said in (
        (lambda: SimMIM(VIT, PIXELS, mask_ratio=1.0), r"mask_ratio=1.0 must be between 0 and 1"),
        (lambda: MaskFeat(VIT, PIXELS, cell=3), r"cell=3 does not divide model.patch=4"),
        (lambda: BEiT(VIT, PIXELS, codes=1), r"codes=1 must be 2 or more"),
        (lambda: IGPT(VIT, PIXELS), r"set model.target=ssl_jax.models.pixels:PixelTransformer"),
        (lambda: Data2Vec(VIT, PIXELS, top=3), r"top=3: 1 to 2, the layers of the encoder"),
        (lambda: Data2Vec(VIT, PIXELS, top=1, layer_norm="batch"), r"layer_norm='batch': one of layer, instance, none"),
    ):
        with pytest.raises(UserError, match=said):
            make()
