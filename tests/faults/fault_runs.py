"""Training runs in processes of their own, forked from one that has imported everything, so that each starts at once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RECIPE = str(Path(__file__).with_name("fault_recipe.py"))
SERVER = multiprocessing.get_context("forkserver")


class Run:
    """`ssl-jax train` of the faulty recipe in `workdir`; stderr in `stderr`.

    `address` is the --workdir where that is not `workdir`, and `command` the whole command line where it is another.
    """

    def __init__(
        self, workdir: Path, *options: str, name: str = "run", prepare: str = "", address: str = "",
        command: tuple[str, ...] = (), **env: str,
    ) -> None:  # fmt: skip
        self.workdir, self.stderr = Path(workdir), Path(f"{workdir}.{name}.stderr")
        argv = list(command) or ["train", "--config", RECIPE, "--workdir", address or str(workdir), *options]
        self.process = SERVER.Process(target=_main, args=(argv, str(self.stderr), prepare, env))
        self.process.start()

    def wait(self, seconds: float = 120) -> int:
        """The exit code, negative for a signal. Kills and fails if it takes longer."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.said()}")
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def said(self) -> str:
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def until(self, ready: Callable[[], bool], seconds: float = 90) -> Run:
        """Wait for `ready()`; fails if the run ends before, or after `seconds`."""
        end = time.monotonic() + seconds
        while not ready():
            assert self.process.is_alive(), f"ended with {self.process.exitcode}:\n{self.said()}"
            assert time.monotonic() < end, f"not ready after {seconds} s:\n{self.said()}"
            time.sleep(0.005)
        return self

    def until_step(self, step: int) -> Run:
        return self.until(lambda: max(losses(self.workdir), default=0) >= step)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.is_alive():
            self.kill()


def trained(workdir: Path, *options: str, code: int = 0, prepare: str = "", **env: str) -> Run:
    """A run from start to end, which must exit with `code`."""
    run = Run(workdir, *options, prepare=prepare, **env)
    assert run.wait() == code, run.said()
    return run


def commands(stderr: Path, *lines: list[str], seconds: float = 120) -> str:
    """What several commands print, run one after the other in one process. Each line begins with the code it has to exit with."""
    process = SERVER.Process(target=_several, args=(lines, str(stderr)))
    process.start()
    process.join(seconds)
    said = stderr.read_text(errors="replace")
    assert process.exitcode == 0, said
    return said


def pair(
    workdir: Path, *options: str, count: int = 2, second: tuple[str, ...] = (), prepare_second: str = "", **env: str
) -> list[Run]:
    """`count` processes of one run on this machine; process 1 has the options `second` besides, and its own preparation."""
    port = free_port()
    flags = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count)]
    env = {"SSL_JAX_CONNECT_SECONDS": "60", "SSL_JAX_HEARTBEAT_SECONDS": "10"} | env
    own = [((), "") if i != 1 else (second, prepare_second) for i in range(count)]
    runs = [
        Run(workdir, *options, *extra, *flags, "--process-id", str(i), name=f"p{i}", prepare=prepare, **env)
        for i, (extra, prepare) in enumerate(own)
    ]
    for run in runs:
        run.port = port
    return runs


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def losses(workdir: Path) -> dict[int, float]:
    """Step -> loss, to the last bit."""
    file = workdir / "metrics.jsonl"
    if not file.exists():
        return {}
    lines = file.read_text().splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return {r["step"]: r["loss"] for r in records if "loss" in r}


def saved_steps(workdir: Path) -> list[int]:
    """The steps whose checkpoints are complete."""
    folder = workdir / "checkpoints"
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def stopped_at(run: Run) -> int:
    """The step at which it said that a signal stopped it, before the end."""
    found = re.search(r"stopped by .* at step (\d+) of (\d+); the same command resumes there", run.said())
    assert found, run.said()
    step, last = map(int, found.groups())
    assert step < last
    return step


def digest(workdir: Path, step: int) -> str:
    """SHA-256 of every array of a checkpoint."""
    import orbax.checkpoint as ocp

    state = ocp.StandardCheckpointer().restore((workdir / "checkpoints" / str(step) / "state").resolve())
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + np.asarray(state[name]).tobytes())
    return found.hexdigest()


def _several(lines: list[list[str]], stderr: str) -> None:
    _write_to(stderr)
    from ssl_jax.cli import main

    for code, *words in lines:
        found = main(words)
        print(f"exit {found} of {words[0]}", flush=True)
        if found != int(code):
            sys.exit(1)
    sys.exit(0)


def _main(argv: list[str], stderr: str, prepare: str, env: dict[str, str]) -> None:
    os.environ.update(env)
    _write_to(stderr)
    exec(prepare, {})  # what a test breaks before the run starts
    from ssl_jax.cli import main

    code = main(argv)
    sys.stdout.flush()
    sys.exit(code)


def _write_to(stderr: str) -> None:
    """Both streams of this process go to the end of a file."""
    file = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
