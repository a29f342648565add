"""Our training step and PyTorch's, in processes that take turns, after both were found to compute the same."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import IO, Any

from ssl_jax.benchmark.timing import Reading, alternate, summary
from ssl_jax.errors import UserError

HERE = Path(__file__).parent
CHECKED_STEPS = 3  # the losses of the second and third step depend on gradient and optimiser
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # relative
_TRAIN = {"lr": 1e-4, "weight_decay": 0.05}
# Width, depth, heads, patch, pixels, kept patches, decoder, batch.
SIZES: dict[str, dict[str, Any]] = {
    "mae_tiny": _TRAIN
    | {"width": 192, "depth": 12, "heads": 3, "patch": 8, "image": 96, "kept": 36, "batch": 16}
    | {"decoder_width": 128, "decoder_depth": 4, "decoder_heads": 4},
    "mae_small": _TRAIN
    | {"width": 384, "depth": 12, "heads": 6, "patch": 16, "image": 224, "kept": 49, "batch": 8}
    | {"decoder_width": 192, "decoder_depth": 4, "decoder_heads": 3},
    "mae_large": _TRAIN
    | {"width": 1024, "depth": 24, "heads": 16, "patch": 16, "image": 224, "kept": 49, "batch": 64}
    | {"decoder_width": 512, "decoder_depth": 8, "decoder_heads": 16},
}
OURS: dict[str, dict[str, Any]] = {
    "jax scan+full": {"remat": "full"},
    "jax scan": {"remat": "none"},
    "jax unroll": {"remat": "none", "unroll": 64},
}
ON_GPU = {"jax unroll+cudnn": {"remat": "none", "unroll": 64, "attention": "cudnn"}}
THEIRS = {"torch eager": False, "torch compile": True}
# One thread each. The affinity that worker.py sets binds the pools that libraries size by it.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ONE_THREAD_FLAG = "--xla_cpu_multi_thread_eigen=false"


class Worker:
    """A child process that runs `worker.py`; a context manager."""

    def __init__(self, python: str, script: str, spec: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.name = f"{spec['name']} ({script})"
        self._errors = TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        command = [python, str(HERE / "worker.py"), str(HERE / script), json.dumps(spec)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=pipe, stdout=pipe, stderr=self._errors, text=True
        )
        self._requests, self._answers = _end(self._process.stdin), _end(self._process.stdout)

    def __enter__(self) -> Worker:
        self._read()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers, self._errors):
            _close(pipe)

    def train(self, steps: int) -> dict[str, Any]:
        """`losses` of the next steps, and the seconds `wall` and `cpu` that they took."""
        with suppress(BrokenPipeError):  # _read says why
            self._requests.write(json.dumps({"steps": steps}) + "\n")
            self._requests.flush()
        return self._read()

    def timed(self, steps: int) -> Reading:
        """Seconds of one of the next steps."""
        taken = self.train(steps)
        return Reading(taken["wall"] / steps, taken["cpu"] / steps)

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise UserError(f"{self.name} ended: {_last_line(self._errors.read())}")
        return json.loads(line)


def check_same(reference: Sequence[float], found: Mapping[str, Sequence[float]], tolerance: float) -> dict[str, float]:
    """The largest relative difference of the losses of each side from `reference`.

    Raises UserError, and nothing is timed, where one is larger than `tolerance` or no number.
    """
    differences = {
        name: max(abs(a - b) / abs(a) if b == b else float("inf") for a, b in zip(reference, losses, strict=True))
        for name, losses in found.items()
    }
    for name, difference in differences.items():
        if not difference <= tolerance:
            raise UserError(
                f"{name} computes something else: losses {list(found[name])} against {list(reference)}, relative "
                f"difference {difference:.1e}, allowed {tolerance:.0e}; nothing was timed. Compare the models first"
            )
    return differences


def peer_versions(python: str) -> dict[str, str | None]:
    """Versions of torch and timm (None: not installed) under an interpreter; UserError where torch is not there."""
    program = (
        "import json\nfrom importlib import metadata\n"
        "def version(name):\n try: return metadata.version(name)\n except metadata.PackageNotFoundError: return None\n"
        "print(json.dumps({name: version(name) for name in ('torch', 'timm')}))"
    )
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"--torch-python {python}: cannot be run ({error})") from error
    found = json.loads(done.stdout)
    if found["torch"] is None:
        raise UserError(
            "--peers needs PyTorch, and this interpreter has none: install torch (and timm, whose blocks are used if it is "
            "there) in an environment of its own, and name its interpreter with --torch-python"
        )
    return found


def compare(size: str, rounds: int, steps: int, torch_python: str | None = None) -> dict[str, Any]:
    """One size: the check, then `steps` training steps of each side in each of `rounds`.

    Ratios are PyTorch's seconds over ours in the same round: above 1 we are faster.
    """
    import jax

    gpu = jax.default_backend() == "gpu"
    clock, dtype = ("wall", "bfloat16") if gpu else ("cpu", "float32")
    python = torch_python or sys.executable
    versions = peer_versions(python)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        common = SIZES[size] | {"folder": folder, "dtype": dtype, "cpu": None if gpu else max(os.sched_getaffinity(0))}
        started = sides(common, gpu, python, versions["timm"] is not None)
        workers = {name: stack.enter_context(Worker(*arguments)) for name, arguments in started.items()}
        first, failed = first_steps(workers)
        reference = next(iter(first.values()))["losses"]
        differences = check_same(reference, {k: v["losses"] for k, v in first.items()}, TOLERANCE[dtype])
        readings = alternate({name: partial(workers[name].timed, steps) for name in first}, rounds)
    rows = {}
    for name, taken in readings.items():
        seconds = summary(taken)
        rate = SIZES[size]["batch"] / seconds[clock]["median"]
        warming = {c: first[name][c] for c in ("wall", "cpu")}
        rows[name] = {"seconds": seconds, "examples_per_second": rate, "first_steps_seconds": warming}
    return {
        "size": SIZES[size], "dtype": dtype, "clock": clock, "versions": versions, "threads": None if gpu else 1,
        "blocks": "timm" if versions["timm"] else "plain", "rounds": rounds, "steps_per_round": steps,
        "check": {"steps": CHECKED_STEPS, "tolerance": TOLERANCE[dtype], "difference": differences, "losses": reference},
        "rows": rows, "ratios": ratios(readings, clock), "failed": failed,
    }  # fmt: skip


def sides(common: Mapping[str, Any], gpu: bool, torch_python: str, timm: bool) -> dict[str, tuple]:
    """What to start, by name: the arguments of `Worker`. The first writes parameters and inputs for the others."""
    theirs = os.environ | {"PYTHONPATH": str(HERE.parents[2])} | ({} if gpu else ONE_THREAD)
    found_here = os.pathsep.join([theirs["PYTHONPATH"], *filter(None, [os.environ.get("PYTHONPATH")])])
    ours = theirs | {"PYTHONPATH": found_here, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if not gpu:
        ours |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD_FLAG}".strip()}
    found: dict[str, tuple] = {}
    for name, options in (OURS | (ON_GPU if gpu else {})).items():
        spec = dict(common) | {"name": name, "options": options, "write": not found}
        found[name] = (sys.executable, "jax_mae.py", spec, ours)
    for name, compiling in THEIRS.items():
        spec = dict(common) | {"name": name, "device": "cuda" if gpu else "cpu", "timm": timm, "compile": compiling}
        found[name] = (torch_python, "torch_mae.py", spec, theirs)
    return found


def first_steps(workers: Mapping[str, Worker]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The steps whose losses are compared, and why `torch.compile` failed if it did: it needs a C++ compiler on a CPU."""
    first, failed = {}, {}
    for name, worker in workers.items():
        try:
            first[name] = worker.train(CHECKED_STEPS)
        except UserError as error:
            if name != "torch compile":
                raise
            failed[name] = str(error)
    return first, failed


def ratios(readings: Mapping[str, Sequence[Reading]], clock: str) -> dict[str, dict[str, dict[str, float]]]:
    """Theirs over ours, round by round: median, least and most. `ratios["torch eager"]["jax scan"]`."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for theirs in (n for n in readings if n.startswith("torch")):
        for ours in (n for n in readings if n.startswith("jax")):
            pairs = zip(readings[theirs], readings[ours], strict=True)
            each = [getattr(t, clock) / getattr(o, clock) for t, o in pairs]
            spread = {"median": statistics.median(each), "least": min(each), "most": max(each)}
            found.setdefault(theirs, {})[ours] = spread
    return found


def _last_line(text: str) -> str:
    """The last line that names an error (jax adds remarks below it), else the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return next(reversed(errors or lines), "without a word")


def _end(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # it was asked for
    return pipe


def _close(pipe: IO[str]) -> None:
    with suppress(BrokenPipeError):
        pipe.close()
