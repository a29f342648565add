"""What surrounds a run may break: compile cache, TensorBoard, memory."""

import os
import shutil
import stat

import jax
import pytest
from fault_runs import losses, trained

from ssl_jax.devices.compiler import keep_compiled_programs
from ssl_jax.rundir.log import logger

NO_BOARD = """
import tensorboardX
def broken(*args, **options):
    raise OSError("no space")
tensorboardX.SummaryWriter = broken
"""


def test_a_corrupt_compile_cache_is_compiled_again(tmp_path, straight, server):
    # In place, since the name of an entry depends on the directory: what `straight` compiled is put back afterwards.
    kept = shutil.copytree(server, tmp_path / "kept")
    entries = [p for p in server.iterdir() if p.name.endswith("-cache")]
    assert entries
    try:
        for entry in entries:
            os.truncate(entry, entry.stat().st_size // 2)
        run = trained(tmp_path / "run")
    finally:
        shutil.copytree(kept, server, dirs_exist_ok=True)
    assert "Error reading persistent compilation cache entry" in run.said()
    assert losses(tmp_path / "run") == losses(straight)


def test_the_cache_is_private_or_not_used(tmp_path, monkeypatch, caplog):
    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.setenv("SSL_JAX_COMPILE_CACHE", str(tmp_path / "mine"))
        assert keep_compiled_programs() == tmp_path / "mine"
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
        assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700
        (tmp_path / "mine").chmod(0o770)
        assert keep_compiled_programs() is None
        assert "others can write to" in caplog.text
        monkeypatch.setenv("SSL_JAX_COMPILE_CACHE", "off")
        assert keep_compiled_programs() is None
        assert jax.config.jax_compilation_cache_dir is None
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("SSL_JAX_COMPILE_CACHE", str(tmp_path / "file" / "x"))
        assert keep_compiled_programs() is None
        monkeypatch.delenv("SSL_JAX_COMPILE_CACHE")
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert keep_compiled_programs() == tmp_path / ".cache" / "ssl_jax" / "compiled"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_home_nothing_compiled_is_kept(monkeypatch, caplog):
    for key in ("SSL_JAX_COMPILE_CACHE", "JAX_COMPILATION_CACHE_DIR", "HOME"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a user without a name, as in a container
    with caplog.at_level("WARNING", logger.name):
        assert keep_compiled_programs() is None
    assert "no home directory is known" in caplog.text


def test_training_goes_on_without_tensorboard(tmp_path, straight):
    run = trained(tmp_path / "run", "--config.log.tensorboard=True", prepare=NO_BOARD)
    assert run.said().count("TensorBoard stopped") == 1
    assert losses(tmp_path / "run") == losses(straight)


def test_out_of_memory_says_how_much_and_what_helps(tmp_path):
    run = trained(tmp_path / "run", "--config.model.width=100000000000", code=2)
    said = run.said()
    assert "out of memory" in said
    assert "27.2 TB per device" in said  # parameters, teacher and two moments of 16 x 10^11 float32, and biases
    for remedy in ("batch_size (now 8", "remat", "accumulation=2"):
        assert remedy in said
    assert "Traceback" not in said


@pytest.mark.parametrize("wrong", [ValueError("another"), RuntimeError("another")])
def test_other_errors_are_not_taken_for_it(wrong):
    from ssl_jax.devices.memory import out_of_memory_explained

    with pytest.raises(type(wrong), match="another"), out_of_memory_explained(None, None):
        raise wrong
