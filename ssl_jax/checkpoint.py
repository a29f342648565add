"""Checkpoints: the only file that imports orbax.

A checkpoint holds the state and, as JSON beside it, the cursor, the recipe and the fingerprint of the data. Saving is
asynchronous and atomic: a step directory has its final name only when it is complete.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from ssl_jax.errors import UserError
from ssl_jax.mesh import path_name


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: `<workdir>/checkpoints`.
        keep: how many of the newest to keep.
        keep_every: steps between checkpoints that are kept for good; 0 keeps none for good.
        read_only: open for reading, without touching what is there.
    """

    def __init__(self, directory: Path, keep: int = 3, keep_every: int = 0, read_only: bool = False) -> None:
        absl_logging.set_verbosity(absl_logging.ERROR)  # orbax narrates every step otherwise
        self._directory = Path(directory).resolve()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_every or None,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self._directory, options=options, item_handlers=handlers)
        self._saved_at: float | None = None

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Start saving. Returns when the state was copied to the host; a step that is there already is left alone."""
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(_as_dict(state)), meta=ocp.args.JsonSave(meta))
        with _explained(self._directory):
            self._manager.save(step, args=items)
        self._saved_at = time.monotonic()

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """What was saved beside the state at `step` (default: the newest)."""
        items = self._manager.restore(self._known(step), args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        return items["meta"]

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The state at `step` (default: the newest), with the tree, shapes, dtypes and shardings of `like`.

        `like` holds arrays or `ShapeDtypeStruct`s; their shardings may belong to another mesh than the one that saved.
        """
        step = self._known(step)
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        self._check_tree(step, _as_dict(target))
        items = ocp.args.Composite(state=ocp.args.StandardRestore(_as_dict(target)))
        restored = self._manager.restore(step, args=items)["state"]
        return jax.tree.unflatten(jax.tree.structure(like), [restored[name] for name in _as_dict(like)])

    def age(self) -> float | None:
        """Seconds since the last save was started by this process, or None."""
        return None if self._saved_at is None else time.monotonic() - self._saved_at

    def wait(self) -> None:
        """Block until every save is on disk."""
        with _explained(self._directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and release what orbax holds."""
        self.wait()
        self._manager.close()

    def _known(self, step: int | None) -> int:
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise UserError(
                f"{self._directory} holds no complete checkpoint; run `ssl-jax train` with this workdir first"
            )
        if step is not None and step not in steps:
            raise UserError(
                f"{self._directory} holds no checkpoint of step {step}; it has {', '.join(map(str, steps))}"
            )
        return steps[-1] if step is None else step

    def _check_tree(self, step: int, target: dict[str, Any]) -> None:
        """Orbax casts dtypes silently and explains shapes poorly: compare first, and say what differs."""
        metadata = self._manager.item_metadata(step)["state"].tree
        saved = {k: (tuple(m.shape), str(m.dtype)) for k, m in metadata.items()}
        wanted = {k: (tuple(x.shape), str(x.dtype)) for k, x in target.items()}
        show = lambda entry: f"{entry[1]}{list(entry[0])}" if entry else "absent"  # noqa: E731
        changed = [
            f"  {k}: saved {show(saved.get(k))}, wanted {show(wanted.get(k))}"
            for k in sorted(saved.keys() | wanted.keys())
            if saved.get(k) != wanted.get(k)
        ]
        if changed:
            more = f"\n  and {len(changed) - 8} more" if len(changed) > 8 else ""
            raise UserError(
                f"the checkpoint of step {step} does not fit this recipe:\n" + "\n".join(changed[:8]) + more
                + "\nRestore with the recipe that wrote it, or start in another --workdir"
            )  # fmt: skip


class _explained:
    """Turn a full disk into a message that says what is safe."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, UserError):
            return
        full = (
            getattr(error, "errno", None) == errno.ENOSPC
            or "RESOURCE_EXHAUSTED" in str(error)
            or "No space" in str(error)
        )
        if full:
            raise UserError(
                f"no space left to save into {self.directory}; earlier checkpoints are intact. "
                "Free some space (or lower checkpoint.keep) and start the same command again: it resumes"
            ) from error


def _as_dict(state: Any) -> dict[str, Any]:
    """NamedTuples inside optimiser states -> one flat dict by path, so that the files name every array."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {path_name(path).replace("/", "."): leaf for path, leaf in leaves}
