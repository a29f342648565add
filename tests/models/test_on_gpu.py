"""What only a GPU can show: cuDNN's attention is the plain one, in values and gradients; docs/accelerators.md has the command."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.models.attention import attend, attend_cudnn
from ssl_jax.models.mask import Mask

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU: SSL_JAX_TEST_PLATFORM=cuda")

B, H, D = 3, 4, 32
CASES = {
    "plain": lambda n: (Mask(), None),
    "causal": lambda n: (Mask(causal=True), None),
    "valid": lambda n: (Mask(jnp.arange(n) < jnp.array([[n], [n // 2], [1]])), None),
    "documents": lambda n: (Mask(causal=True, segments=jnp.arange(n)[None] // jnp.array([[3], [7], [n]])), None),
    "bias": lambda n: (Mask(), jax.random.normal(jax.random.key(9), (1, H, n, n))),
}


@pytest.mark.parametrize("tokens", [50, 197])
@pytest.mark.parametrize("case", CASES)
def test_cudnn_is_the_plain_form_in_values_and_gradients(case, tokens):
    mask, bias = CASES[case](tokens)
    given = [jax.random.normal(jax.random.key(i), (B, tokens, H, D), jnp.bfloat16) for i in range(4)]

    def pulled(form, *arrays):
        out, back = jax.vjp(lambda *x: form(*x, mask, bias), *arrays[:3])
        return out, *back(arrays[3].astype(out.dtype))

    ours = jax.jit(lambda *x: pulled(attend_cudnn, *x))(*given)
    plain = jax.jit(lambda *x: pulled(attend, *x))(*(x.astype(jnp.float32) for x in given))
    for found, expected in zip(ours, plain, strict=True):
        error = np.linalg.norm(np.asarray(found, np.float32) - expected) / np.linalg.norm(expected)
        assert error < 0.01, (case, tokens, error)


@pytest.mark.parametrize("attention", ["cudnn", "auto"])
def test_a_run_trains_and_is_evaluated(tmp_path, attention):
    """MAE's decoder has 17 tokens here, an odd number; 16 wide heads."""
    options = [f"--config.model.attention={attention}", "--config.model.dtype=bfloat16"]
    run = ["--config", "mae_vit_fashion:tiny", "--workdir", str(tmp_path / "run"), *options]
    assert main(["train", *run]) == 0
    assert main(["eval", "--workdir", str(tmp_path / "run"), "--probes", "knn"]) == 0
