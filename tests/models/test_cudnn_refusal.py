"""`model.attention=cudnn` where there is no GPU is the user's to fix, before anything is compiled."""

import pytest

from ssl_jax.cli import main


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cudnn_without_a_gpu_is_refused_with_a_remedy(tmp_path, capsys, dtype):
    options = ["--config.model.attention=cudnn", f"--config.model.dtype={dtype}"]
    assert main(["train", "--config", "mae_vit_fashion:tiny", "--workdir", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err
    assert "model.attention='cudnn' needs an NVIDIA GPU" in error
    assert "use model.attention=xla" in error
    assert "Traceback" not in error
