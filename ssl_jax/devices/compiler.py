"""What the XLA compiler must be told before jax starts, what it compiles for, and where it keeps what it compiled."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path

CACHE = "SSL_JAX_COMPILE_CACHE"  # a directory, or "off"
DEVICE_FILES = ("dev/accel*", "dev/vfio/[0-9]*", "dev/nvidia*", "dev/dxg", "dev/kfd")
GOOGLE = "0x1ae0"  # vendor number on the PCI bus
FLAG = "--xla_cpu_experimental_ynn_fusion_type="
# What is set for programs that are compiled for a platform that is not here, and why. Those that run have no options but what
# XLA_FLAGS and LIBTPU_INIT_ARGS say: the GPU's compiler starts collectives early as it is, and the TPU's all-reduces
# wait with or without the flags that are named for them (docs/results/audit.md).
UNATTENDED = {
    "cuda": {
        "xla_gpu_autotune_level": 0,  # autotuning needs the device
        "xla_gpu_enable_triton_gemm": False,  # without autotuning some of its fusions have no valid tiling
    }
}


def avoid_wrong_reductions() -> None:
    """Switch off a fusion of jaxlib 0.10's CPU compiler that returns wrong numbers (jax issue 39103).

    A batched multiply-and-sum with more than 32,768 results, fused with another reduction (a softmax cross-entropy over
    many rows, say), is silently wrong under `jit`. Other versions may not know the flag and would refuse to start, so it is
    set for 0.10 only, and never against a value that the user chose.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if metadata.version("jaxlib").startswith("0.10.") and FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()


def flags_told(platform: str) -> list[str]:
    """One line for each place where flags of the compiler for `platform` are set, by us with the reason, or by the user."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    ours = [f"compiler: {FLAG} is set, since a fusion of this jaxlib is wrong; a value of yours in XLA_FLAGS is kept"]
    given = {
        "XLA_FLAGS": [f for f in flags if f != FLAG],
        "LIBTPU_INIT_ARGS": os.environ.get("LIBTPU_INIT_ARGS", "").split(),
    }
    return (ours if FLAG in flags and platform == "cpu" else []) + [
        f"compiler: {' '.join(words)} ({name})" for name, words in given.items() if words
    ]


def leave_out_absent_tpu() -> None:
    """Where libtpu is installed and no TPU is attached, keep jax from trying it, which prints errors. Call before jax starts.

    jax tries every installed backend unless JAX_PLATFORMS names some. Where there is any sign of another accelerator, or a
    backend of which nothing is known here, the choice stays jax's.
    """
    told = "JAX_PLATFORMS" in os.environ or "JAX_FORCE_TPU_INIT" in os.environ
    if not told and importlib.util.find_spec("libtpu") and not accelerators() and not _unknown_backends():
        os.environ["JAX_PLATFORMS"] = "cpu"


def accelerators(root: Path = Path("/")) -> list[Path]:
    """Device files of TPUs and GPUs, and Google's devices on the PCI bus, where jax looks for TPUs."""
    files = [path for pattern in DEVICE_FILES for path in root.glob(pattern)]
    return files + [path for path in root.glob("sys/bus/pci/devices/*/vendor") if path.read_text().strip() == GOOGLE]


def _unknown_backends() -> list[str]:
    """Backends of jax that are installed, but for CUDA, which jax skips where there is no such device."""
    found = importlib.util.find_spec("jax_plugins")
    packages = pkgutil.iter_modules(found.submodule_search_locations or ()) if found else ()
    named = [*(p.name for p in metadata.entry_points(group="jax_plugins")), *(p.name for p in packages)]
    return [name for name in named if "cuda" not in name]


def quick_to_compile() -> str:
    """XLA flags that make the CPU compiler about six times as fast, for programs that are looked at and never run.

    Level 0 halves the time; the older emitters, which other versions than 0.10 may not know, take a third at that level
    (and twice as long at the default one). What they make at that level is not to be trusted: a colour jitter was off by 0.4.
    """
    older = "--xla_cpu_use_fusion_emitters=false" if metadata.version("jaxlib").startswith("0.10.") else ""
    return f"--xla_backend_optimization_level=0 {older}".strip()


_PLANNED: ContextVar[str | None] = ContextVar("planned", default=None)


@contextmanager
def compiling_for(platform: str) -> Iterator[None]:
    """What is traced inside is meant for `platform` ("cpu", "gpu" or "tpu"), which need not be here."""
    token = _PLANNED.set(platform)
    try:
        yield
    finally:
        _PLANNED.reset(token)


def target_platform() -> str:
    """The platform that programs are traced for: what `compiling_for` says, or else where jax runs."""
    import jax

    return _PLANNED.get() or jax.default_backend()


def cuda_plugin_installed() -> bool:
    """Whether jax can compile for NVIDIA GPUs, present or not. Looks, and imports nothing."""
    return any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))


def cudnn_installed() -> bool:
    """Whether programs that call cuDNN can be compiled: jax has found it where a GPU is; elsewhere its package is."""
    import jax

    return jax.default_backend() == "gpu" or bool(
        importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cudnn")
    )


def tpu_compiler_installed() -> bool:
    """Whether jax can compile for TPUs, present or not. Looks, and imports nothing."""
    return importlib.util.find_spec("libtpu") is not None


def keep_compiled_programs() -> Path | None:
    """Let jax keep compiled programs on disk, so that a run that resumes does not compile again. Returns where.

    The directory is `$SSL_JAX_COMPILE_CACHE`, or else `$JAX_COMPILATION_CACHE_DIR`, or else
    `~/.cache/ssl_jax/compiled`; `SSL_JAX_COMPILE_CACHE=off` keeps nothing. What lies in it is executed: it is made private
    (mode 0700), and one that others can write to, or that is not ours, is not used. jax recompiles what it cannot read.
    """
    import jax

    from ssl_jax.rundir.log import logger

    wanted = os.environ.get(CACHE) or os.environ.get("JAX_COMPILATION_CACHE_DIR") or "~/.cache/ssl_jax/compiled"
    if wanted == "off":
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    if "://" in wanted:  # an object store has no modes
        jax.config.update("jax_compilation_cache_dir", wanted)
        return None
    try:
        path = Path(wanted).expanduser()
    except RuntimeError:  # HOME is not set, and this user has no entry that says where it is
        logger.warning("compiled programs are not kept: no home directory is known; %s names a place for them", CACHE)
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        logger.warning("compiled programs are not kept: %s (%s); %s names another place", path, error.strerror, CACHE)
        return None
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        logger.warning("compiled programs are not kept: others can write to %s; chmod 700 it, or set %s", path, CACHE)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    return path
