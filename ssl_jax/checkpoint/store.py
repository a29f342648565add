"""Checkpoints: the only file that imports orbax.

A checkpoint holds the state and, as JSON beside it, the run's name, the cursor, the recipe and the fingerprint of the data.
Saving is asynchronous and atomic (`files.py`); what is restored is compared with its manifest first (`manifest.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from ssl_jax.checkpoint.files import StepDirectories
from ssl_jax.checkpoint.manifest import CheckpointCorrupt
from ssl_jax.devices.distributed import agreed, any_process, is_first
from ssl_jax.devices.mesh import path_name
from ssl_jax.errors import UserError
from ssl_jax.rundir.log import logger

BARRIER_SECONDS = 300  # how long one process waits for the others while saving; orbax's default is 1200
NONE, ALL_DAMAGED = -1, -2
SAVE, THERE, BLOCKED = 0, 1, 2


class Checkpoints:
    """The checkpoints of one run. With several processes all of them call every method, on one shared directory.

    Args:
        directory: `<workdir>/checkpoints`.
        keep: how many of the newest to keep.
        keep_every: steps between checkpoints that are kept for good; 0 keeps none for good.
        max_failures: how many saves in a row may fail before the run is stopped.
        read_only: open for reading, without touching what is there.
        in_place: raises UserError where the directory is another one by now; asked before anything is named or removed.
    """

    def __init__(
        self,
        directory: Path,
        keep: int = 3,
        keep_every: int = 0,
        max_failures: int = 3,
        read_only: bool = False,
        in_place: Callable[[], None] = lambda: None,
    ) -> None:
        absl_logging.set_verbosity(absl_logging.FATAL)  # orbax narrates every step; what fails it raises, and we tell
        self._files = StepDirectories(directory, read_only)
        self._keep, self._keep_every, self._max_failures = keep, keep_every, max_failures
        self._in_place = in_place
        handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        # Directories are made in the foreground: in the background, a failure leaves threads that wait for them.
        options = ocp.options.AsyncOptions(timeout_secs=BARRIER_SECONDS, create_directories_asynchronously=False)
        self._orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(**handlers), async_options=options)
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._pending: tuple[int, float, Future[None]] | None = None
        self._failures = 0
        self._saved_at: float | None = None
        if not read_only and is_first():
            self._files.tidy()

    def save(self, step: int, state: Any, meta: dict[str, Any], proven: Callable[[], bool] = lambda: True) -> None:
        """Start saving. Returns when the state was copied to the host; a step that was saved already is left alone.

        `proven` is asked in the background once all is written, and may wait: where it says no, the step gets no name.
        A save that fails is told and training goes on. UserError when `max_failures` in a row have failed.
        """
        self.wait()
        verdict, problem = self._verdict(step, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        if verdict == THERE:
            return
        started = time.monotonic()
        try:
            if verdict == BLOCKED:
                raise OSError(problem or "the first process cannot write")
            items = ocp.args.Composite(state=ocp.args.StandardSave(named(state)), meta=ocp.args.JsonSave(meta))
            self._orbax.save(self._files.saving(step), args=items, force=True)
            future = self._pool.submit(self._publish, step, proven)
        except Exception as error:  # orbax has no common class of errors
            future = Future()
            future.set_exception(error)
        self._pending = (step, started, future)
        self.poll()

    def poll(self) -> None:
        """Notice, without waiting, how the save in the background ended. With several processes the next `wait` does."""
        if self._pending and self._pending[2].done() and jax.process_count() == 1:
            self.wait()

    def wait(self) -> None:
        """Block until the save in the background is on disk, or is known to have failed."""
        if self._pending is None:
            return
        (step, started, future), self._pending = self._pending, None
        error = future.exception()
        if any_process(error is not None):
            self._failed(step, _short(error) if error else "another process could not write its part")
        else:
            self._failures, self._saved_at = 0, started

    def finish(self) -> None:
        """Wait, and raise UserError if the newest state could not be saved."""
        self.wait()
        if self._failures:
            raise UserError(
                f"the last state could not be saved into {self._files.path}; {self._intact()}. "
                "Free some space and start the same command again: it resumes"
            )

    def age(self) -> float | None:
        """Seconds of training that are not saved: since this process began its last good save, or restored; else None."""
        return None if self._saved_at is None else time.monotonic() - self._saved_at

    def close(self) -> None:
        """Let the save in the background end, and release what orbax holds. Raises nothing: `finish` tells."""
        self._pool.shutdown(wait=True)
        with suppress(Exception):
            self._orbax.close()

    def latest_valid_step(self) -> int | None:
        """The newest step whose files are those that were written, or None. Damaged ones are set aside on the way.

        Raises:
          UserError: there are checkpoints, and all of them are damaged.
        """
        found = NONE
        if is_first():
            step, damaged = self._files.newest_sound()
            found = step if step is not None else ALL_DAMAGED if damaged else NONE
        found = agreed(found)
        if found == ALL_DAMAGED:
            raise UserError(
                f"every checkpoint in {self._files.path} is damaged; the messages above and train.log say how. Bring one "
                "back from a copy, or start the same command again to train from the beginning"
            )
        return None if found == NONE else found

    def roll_back(self, step: int, reason: str) -> int | None:
        """Rename the checkpoints after `step`, so that a run resumes from the newest one that is left: its step, or None."""
        self.wait()
        if is_first():
            self._in_place()
            self._files.set_aside_after(step, "unhealthy", reason)
        left = [found for found in self._files.steps() if found <= step]
        newest = agreed(left[-1] if left else NONE)
        return None if newest == NONE else newest

    def digest(self, step: int) -> str:
        """A SHA-256 of every byte of the checkpoint of `step`, by its manifest."""
        return self._files.digest(step)

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """What was saved beside the state at `step` (default: the newest)."""
        return self._read(self.step_or_newest(step), meta=ocp.args.JsonRestore())["meta"]

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The state at `step` (default: the newest), with the tree, shapes, dtypes and shardings of `like`.

        `like` holds arrays or `ShapeDtypeStruct`s; their shardings may belong to another mesh than the one that saved.
        """
        step = self.step_or_newest(step)
        target = named(_shapes(like))
        _refuse_differences(step, self.shapes(step), target)
        restored = self._read(step, state=ocp.args.StandardRestore(target))["state"]
        self._saved_at = time.monotonic()
        return jax.tree.unflatten(jax.tree.structure(like), [restored[name] for name in target])

    def part(self, like: dict[str, Any], step: int | None = None) -> dict[str, Any]:
        """As `restore`, for the entries of the state that `like` has (`{"params": ..., "extra": ...}`); others are not read."""
        step = self.step_or_newest(step)
        target = named(_shapes(like))
        saved = {k: shape for k, shape in self.shapes(step).items() if k.partition(".")[0] in like}
        _refuse_differences(step, saved, target)
        restored = self.read(step, target)
        return jax.tree.unflatten(jax.tree.structure(like), [restored[name] for name in target])

    def step_or_newest(self, step: int | None = None) -> int:
        """`step`, or the newest, after its files were compared with their manifest. UserError if it is not there."""
        if step is None:
            step = self.latest_valid_step()
            if step is None:
                raise UserError(
                    f"{self._files.path} holds no complete checkpoint; run `ssl-jax train` with this workdir first"
                )
            return step
        steps = self._files.steps()
        if step not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{self._files.path} holds no checkpoint of step {step}; it has {there}")
        try:
            self._files.check(step)
        except CheckpointCorrupt as error:
            raise UserError(f"the checkpoint of step {step} is damaged: {error}; use another of {steps}") from error
        return step

    def shapes(self, step: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of every array of the state at `step`, by name."""
        metadata = ocp.StandardCheckpointHandler().metadata(self._files.path / str(step) / "state").tree
        return {k: (tuple(m.shape), str(m.dtype)) for k, m in metadata.items()}

    def read(self, step: int, like: dict[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
        """Some arrays of the state at `step` by name, with the shardings of `like`; the others are not read."""
        wanted = ocp.args.PyTreeRestore(
            item=like, restore_args=ocp.checkpoint_utils.construct_restore_args(like), partial_restore=True
        )
        with closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as reader:
            return reader.restore(self._files.path / str(step) / "state", args=wanted)

    def _read(self, step: int, **items: Any) -> Any:
        return self._orbax.restore(self._files.path / str(step), args=ocp.args.Composite(**items))

    def _verdict(self, step: int, size: int) -> tuple[int, str]:
        """What the first process finds, known to all: SAVE, THERE or BLOCKED; and why not."""
        if is_first():
            self._files.refuse_stranger(step)
        problem = self._files.obstacle(size) if is_first() else ""
        verdict = THERE if step in self._files.steps() else BLOCKED if problem else SAVE
        return agreed(verdict), problem

    def _publish(self, step: int, proven: Callable[[], bool]) -> None:
        """In the background: wait for orbax, then name the step. Nothing else touches orbax until this has ended."""
        self._orbax.wait_until_finished()
        good = proven()
        if is_first():
            self._in_place()
            if good:
                self._files.publish(step, self._keep, self._keep_every)
            else:
                self._files.drop_partial(step)

    def _failed(self, step: int, reason: str) -> None:
        self._failures += 1
        if is_first():
            with suppress(UserError):
                self._in_place()
                self._files.drop_partial(step)
        logger.warning(
            "the checkpoint of step %d could not be saved (%s); %s, and training goes on (failure %d of %d in a row)",
            step, reason, self._intact(), self._failures, self._max_failures,
        )  # fmt: skip
        if self._failures >= self._max_failures:
            raise UserError(
                f"{self._failures} checkpoints in a row could not be saved into {self._files.path} ({reason}); "
                f"{self._intact()}. Free some space (or lower checkpoint.keep) and start the same command again: it resumes"
            )

    def _intact(self) -> str:
        steps = self._files.steps()
        return f"the checkpoint of step {steps[-1]} is intact" if steps else "there is no earlier checkpoint"


def _shapes(like: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)


def _refuse_differences(
    step: int, saved: dict[str, tuple[tuple[int, ...], str]], target: dict[str, jax.ShapeDtypeStruct]
) -> None:
    """Orbax casts dtypes silently and explains shapes poorly: compare first, and say what differs."""
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


def _short(error: BaseException) -> str:
    """The first line of an error, which is what a person can use."""
    lines = str(error).strip().splitlines()
    if isinstance(error, OSError) and not error.errno:
        return lines[0]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def named(state: Any) -> dict[str, Any]:
    """The arrays of a state by the names they have in a checkpoint, e.g. `params.encoder.positions`.

    NamedTuples inside optimiser states become entries of one flat dict too, so that the files name every array.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {path_name(path).replace("/", "."): leaf for path, leaf in leaves}
