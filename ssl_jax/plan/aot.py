"""Compile the real step for chips that are not here, in a child process.

Everything that the compilers read from the environment must be set before jax is imported, hence the child. libtpu compiles
for TPU slices and the CUDA plugin for NVIDIA GPUs, both without a device; without them the step is compiled for as many
pretended CPU devices, whose partitioner is the same but whose memory use is not.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssl_jax.devices.compiler import UNATTENDED, compiling_for, cuda_plugin_installed, quick_to_compile
from ssl_jax.plan.chips import GIB, Target, gpu_description, parse_target

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # run on CPU; the plugin is only a compiler
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # silences a complaint; the target does not depend on it
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # or a second process fails on a lock file
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def compiler_for(target: Target) -> str:
    """`tpu`, `cuda`, or `cpu` where the target's compiler is not installed. Looks, and imports nothing."""
    if target.chip.platform == "tpu" and importlib.util.find_spec("libtpu"):
        return "tpu"
    if target.chip.platform == "cuda" and cuda_plugin_installed():
        return "cuda"
    return "cpu"


def compile_step(
    config: Mapping[str, Any],
    allow: tuple[str, ...],
    target: Target,
    compiler: str,
    timeout: float = 1800,
    *,
    audited: bool = False,
) -> dict[str, Any]:
    """What the compiler says of the recipe's step on `target`, and with `audited` what its program does (`audit.Audit`).

    `status` is `ok` (with `peak`, `arguments`, `temporaries` in bytes per device, `collectives`, `unread`), `oom` (with the
    compiler's `message`, `need` and `limit` in bytes), `error`, `crash` or `timeout`. Only `ok` means that it compiled.
    """
    request = {
        "config": config, "allow": list(allow), "path": sys.path, "compiler": compiler,
        "topology": f"{target.chip.name}:{target.shape}" if target.shape else None, "count": target.count,
        "chip": target.chip.name, "slices": target.slices, "audited": audited,
    }  # fmt: skip
    environment = os.environ | ENVIRONMENT
    environment["XLA_FLAGS"] = ""  # what the user set is for another backend
    if compiler == "cpu":
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={target.count} {quick_to_compile()}"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        question.write_text(json.dumps(request))
        command = [sys.executable, "-m", "ssl_jax.plan.aot", str(question), str(answer)]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        child = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = child.communicate(timeout=timeout)
        except BaseException as stop:  # Ctrl-C too: the child has a session of its own and would go on compiling
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            if not isinstance(stop, subprocess.TimeoutExpired):
                raise
            return {"status": "timeout", "message": f"not compiled within {timeout:.0f} s"}
        if not answer.exists():
            return {"status": "crash", "message": said.strip()[-2000:] or f"exit code {child.returncode}"}
        result = json.loads(answer.read_text())
    return result | {"seconds": round(time.monotonic() - started, 1)}


def answered(request: Mapping[str, Any]) -> dict[str, Any]:
    """The child's work: build the problem, lower it onto the target, compile, read memory and collectives."""
    import jax

    from ssl_jax.plan.audit import audit
    from ssl_jax.plan.collectives import collectives
    from ssl_jax.plan.problem import lowered, problem
    from ssl_jax.recipe import from_json

    topology, count, compiler = request["topology"], request["count"], request["compiler"]
    target = (
        parse_target(topology, slices=request["slices"])
        if topology
        else parse_target(devices=count, chip=request["chip"])
    )
    posed = problem(from_json(json.dumps(request["config"])), tuple(request["allow"]))
    mesh = _mesh(posed.recipe, target, compiler)
    begun, used = time.monotonic(), time.process_time()
    with compiling_for(target.chip.jax_platform):
        step = lowered(posed, mesh)
    try:
        program = step.compile(compiler_options=UNATTENDED.get(compiler))
    except jax.errors.JaxRuntimeError as error:
        return read_error(str(error))
    memory = program.memory_analysis()
    text = program.as_text()
    found, unread = collectives(text)
    shown = {"audit": asdict(audit(text, target.chip))} if request["audited"] else {}
    return {
        "status": "ok", "peak": memory.peak_memory_in_bytes, "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes, "collectives": found, "unread": unread,
        "compile_seconds": round(time.monotonic() - begun, 1), "cpu_seconds": round(time.process_time() - used, 1),
        **shown,
    }  # fmt: skip


def read_error(message: str) -> dict[str, Any]:
    """The compiler's complaint as an answer: out of memory with its two numbers, or another error."""
    if "RESOURCE_EXHAUSTED" not in message:
        return {"status": "error", "message": message.strip()[:2000]}
    numbers = re.search(r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)", message)
    scale = {"K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
    need, limit = (
        (float(numbers[1]) * scale[numbers[2]], float(numbers[3]) * scale[numbers[4]]) if numbers else (None, None)
    )
    return {"status": "oom", "need": need, "limit": limit, "message": message.strip()[:400]}


def _mesh(recipe: Any, target: Target, compiler: str) -> Any:
    import jax
    from jax.experimental import topologies

    from ssl_jax.devices.mesh import make_mesh

    if compiler == "cpu":
        devices = jax.devices()
    elif compiler == "tpu":
        options: dict[str, Any] = {"num_slices": target.slices} if target.slices > 1 else {}
        if target.shape == "1x1":
            options["chips_per_host_bounds"] = [1, 1, 1]
        if target.chip.name == "v4":
            options["chip_config_name"] = "megacore"  # one device per chip
        devices = topologies.get_topology_desc(f"{target.chip.name}:{target.shape}", "tpu", **options).devices
    else:
        devices = topologies.get_topology_desc(
            platform="cuda", target_config=gpu_description(target.chip),
            topology=f"1x{target.hosts}x{target.count // target.hosts}",
        ).devices  # fmt: skip
    return make_mesh(recipe.mesh.data, recipe.mesh.fsdp, recipe.mesh.tensor, devices)


def main(question: str, answer: str) -> None:
    """Read a request, write the answer: the protocol between `compile_step` and its child."""
    request = json.loads(Path(question).read_text())
    sys.path[:] = request["path"]
    Path(answer).write_text(json.dumps(answered(request)))


if __name__ == "__main__":
    main(*sys.argv[1:])
