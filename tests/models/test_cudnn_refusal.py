"""`model.attention=cudnn` where there is no GPU is the user's to fix, before anything is compiled."""

import jax.numpy as jnp
import pytest

from ssl_jax.cli import main
from ssl_jax.devices.compiler import compiling_for
from ssl_jax.errors import UserError
from ssl_jax.models.attention import attend_cudnn


@pytest.fixture(params=["plugin", "no plugin"])
def plugin(request, monkeypatch):
    """Whether jax's CUDA plugin is installed."""
    monkeypatch.setattr("ssl_jax.models.attention.cuda_plugin_installed", lambda: request.param == "plugin")
    return request.param == "plugin"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cudnn_without_a_gpu_is_refused_with_a_remedy(tmp_path, capsys, dtype, plugin):
    options = ["--config.model.attention=cudnn", f"--config.model.dtype={dtype}"]
    assert main(["train", "--config", "mae_vit_fashion:tiny", "--workdir", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err
    assert "model.attention='cudnn' needs an NVIDIA GPU" in error
    assert "for 'cpu'" in error
    assert "use model.attention=xla" in error
    assert "Traceback" not in error


def test_a_plan_for_a_gpu_that_is_not_here_needs_the_plugin_only(plugin):
    heads = jnp.zeros((1, 4, 1, 8))  # float32, which the kernel does not compute in: asked last
    with compiling_for("gpu"), pytest.raises(UserError, match="bfloat16" if plugin else r"needs .* ssl_jax\[cuda\]"):
        attend_cudnn(heads, heads, heads)
    with compiling_for("tpu"), pytest.raises(UserError, match="for 'tpu'"):
        attend_cudnn(heads, heads, heads)
