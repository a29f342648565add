"""Folders and files that a command is given."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_jax.errors import UserError


def check_addresses(arguments: Namespace) -> None:
    """UserError for an address of a store that is not known, and for one where only a local file can be used."""
    from ssl_jax.remote.store import is_remote, local_only

    for name in ("workdir", "bundle"):
        is_remote(getattr(arguments, name, None) or "")
    for name in ("config", "out", "picture"):
        local_only(getattr(arguments, name, None) or "", f"--{name}")


def write_to(write: Callable[[Path], None], out: str, option: str = "--out") -> None:
    """Write what was printed. UserError where the file cannot be written."""
    try:
        write(Path(out))
    except OSError as error:
        raise UserError(
            f"{option} {out} cannot be written: {error.strerror}; name another file. All of it is above"
        ) from error


@contextmanager
def existing_run(workdir: str, step: int | None = None) -> Iterator[Path]:
    """The folder of an earlier run, or the one that stands for it here, with the checkpoint of `step`."""
    from ssl_jax.remote.opening import reading
    from ssl_jax.rundir.workdir import existing

    with reading(workdir, step) as folder:
        yield existing(folder)
