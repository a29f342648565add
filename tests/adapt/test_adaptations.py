"""What each adaptation learns, that nothing is lost, and what it says where there is nothing to learn."""

import jax
import numpy as np
import pytest

from ssl_jax.adapt.base import Adaptation, Frozen, Full, leaves_of, tree_of
from ssl_jax.adapt.lora import IN, OUT, LoRA
from ssl_jax.adapt.parts import Adapters, Biases, LastBlocks, Matching, Norms
from ssl_jax.errors import UserError

L, D, H = 3, 8, 2
SHAPES = {
    "patch_embed/kernel": (5, D),
    "positions": (4, D),
    "transformer/blocks/qkv/kernel": (L, D, 3, H, D // H),
    "transformer/blocks/qkv/bias": (L, 3, H, D // H),
    "transformer/blocks/proj/kernel": (L, H, D // H, D),
    "transformer/blocks/norm1/scale": (L, D),
    "transformer/blocks/norm1/bias": (L, D),
    "transformer/norm/scale": (D,),
}
KEY = jax.random.key(0)


def encoder(**more):
    rng = np.random.default_rng(0)
    return tree_of({path: rng.normal(size=shape).astype(np.float32) for path, shape in (SHAPES | more).items()})


def shapes(tree):
    return {path: x.shape for path, x in leaves_of(tree)}


LEARNED = [
    (Full(), SHAPES),
    (Frozen(), {}),
    (Norms(), {k: v for k, v in SHAPES.items() if "norm" in k}),
    (Biases(), {k: v for k, v in SHAPES.items() if k.endswith("bias")}),
    (Matching("qkv"), {k: v for k, v in SHAPES.items() if "qkv" in k}),
    (LastBlocks(2), {k: (2, *v[1:]) if "blocks" in k else v for k, v in SHAPES.items() if "transformer" in k}),
    (LastBlocks(L), {k: v for k, v in SHAPES.items() if "transformer" in k}),
    (
        LoRA(rank=2),
        {
            f"transformer/blocks/qkv/kernel/{IN}": (L, D, 2),
            f"transformer/blocks/qkv/kernel/{OUT}": (L, 2, 3 * D),
            f"transformer/blocks/proj/kernel/{IN}": (L, D, 2),
            f"transformer/blocks/proj/kernel/{OUT}": (L, 2, D),
        },
    ),
]


@pytest.mark.parametrize(("adapt", "learned"), LEARNED, ids=lambda x: type(x).__name__)
def test_what_is_learned_and_that_the_whole_is_the_encoder(adapt: Adaptation, learned):
    params = encoder()
    parted = adapt.parted(params, KEY)
    assert shapes(parted.learned) == learned
    whole = adapt.whole(*parted)
    assert shapes(whole) == SHAPES
    jax.tree.map(np.testing.assert_array_equal, whole, params)


def test_lora_adds_the_scaled_product_to_each_layer_of_a_kernel():
    params, adapt = encoder(), LoRA(rank=2, alpha=6.0)
    learned, frozen = adapt.parted(params, KEY)
    rng = np.random.default_rng(1)
    learned = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), learned)
    whole, stack = adapt.whole(learned, frozen)["transformer"]["blocks"], params["transformer"]["blocks"]
    for name, shape in (("qkv", (D, 3 * D)), ("proj", (D, D))):
        factors = learned["transformer"]["blocks"][name]["kernel"]
        for layer in range(L):
            wanted = stack[name]["kernel"][layer].reshape(shape) + 3.0 * factors[IN][layer] @ factors[OUT][layer]
            np.testing.assert_allclose(whole[name]["kernel"][layer].reshape(shape), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(whole["norm1"]["scale"], stack["norm1"]["scale"])


REFUSED = [
    (
        lambda: LoRA(targets="nothing/kernel").parted(encoder(), KEY),
        "'nothing/kernel' matches no parameter.*qkv/kernel",
    ),
    (lambda: LoRA(targets="(").parted(encoder(), KEY), "no regular expression"),
    (lambda: LoRA(rank=9).parted(encoder(), KEY), "rank=9.*matrix of 8 x 24"),
    (lambda: LoRA(targets="norm1/scale").parted(encoder(), KEY), "no matrix"),
    (lambda: LoRA(rank=0), "1 or more"),
    (lambda: LastBlocks(4).parted(encoder(), KEY), "count=4: the encoder has 3"),
    (lambda: LastBlocks(1).parted({"conv": {"kernel": np.ones((3, 3))}}, KEY), "no stack"),
    (lambda: Adapters().parted(encoder(), KEY), "set model.adapter"),
    (lambda: Matching("qkx").parted(encoder(), KEY), "matches no parameter"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_learned_is_refused_with_the_remedy(make, message):
    with pytest.raises(UserError, match=message):
        make()
