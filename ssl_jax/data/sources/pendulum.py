"""A small generated data set for pixel control: stacks of frames of a pendulum that is pushed at random."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ssl_jax.data.sources.arrays import Columns, check_split
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

CLASSES = tuple(f"{side}, {way}" for side in ("down", "right", "up", "left") for way in ("clockwise", "anticlockwise"))
_COUNTS = {"pretrain": 10_000, "probe": 4_000, "test": 2_000}
_EPISODE = 50  # records of one episode
_STEP = 0.05  # seconds of a simulation step
_REPEAT = 2  # simulation steps between two frames


@dataclass(frozen=True, eq=False)
class Pendulum(Columns):
    """Frames of a damped pendulum under a random torque, stacked over time.

    A record is `image` uint8 [size, size, frames] (oldest frame first), `state` float32 [3] (cosine and sine of the angle
    from hanging down, angular velocity in rad/s, all of the newest frame), and `label` int32: the quadrant of the angle and
    the direction of turning, which one frame does not tell. Splits come from different episodes; `limit` keeps the first
    so many records. Images are drawn when they are read.

    Example: `Pendulum("probe", limit=10)[0]["image"].shape == (40, 40, 3)`.
    """

    split: str = "pretrain"
    size: int = 40
    frames: int = 3
    limit: int | None = None
    seed: int = 0
    columns: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_split(self.split, tuple(_COUNTS))
        if self.size < 8 or self.frames < 1:
            raise UserError(f"size={self.size}, frames={self.frames}: use at least 8 pixels and 1 frame")
        rng = np.random.default_rng([self.seed, list(_COUNTS).index(self.split)])
        angle, velocity, light = _episodes(rng, _COUNTS[self.split] // _EPISODE, self.frames)
        now, turning = angle[:, -1], velocity[:, -1]
        quadrant = np.floor(((now + np.pi / 4) % (2 * np.pi)) / (np.pi / 2)).astype(np.int32)
        columns = {
            "angle": angle,
            "light": light,
            "state": np.stack([np.cos(now), np.sin(now), turning], axis=1).astype(np.float32),
            "label": 2 * quadrant + (turning > 0),
        }
        self._set(columns, CLASSES, self.limit)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return {name: column[0] for name, column in self.batch(np.array([index])).items()}

    def batch(self, ids: np.ndarray) -> Record:
        """The records `ids` [B], each field stacked to [B, ...]."""
        rows = super().batch(ids)
        image = drawn(rows.pop("angle"), rows.pop("light"), self.size)
        return {"image": image, **rows}


def _episodes(rng: np.random.Generator, count: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles and velocities [N, frames] and light [N, 2] (background, rod) of `count` episodes from random starts."""
    angle, velocity = rng.uniform(-np.pi, np.pi, count), rng.normal(0, 3, count)
    torque, path = np.zeros(count), []
    for _ in range(_EPISODE + frames - 1):
        for _ in range(_REPEAT):
            torque += -0.1 * torque + rng.normal(0, 2.5, count)
            velocity = velocity + _STEP * (-9.81 * np.sin(angle) - 0.1 * velocity + torque)
            angle = angle + _STEP * velocity
        path.append((angle, velocity))
    seen = np.stack(path).transpose(2, 1, 0)  # [episode, angle or velocity, time]
    stacks = np.lib.stride_tricks.sliding_window_view(seen, frames, axis=2)  # [episode, 2, record, frame]
    light = np.repeat(np.stack([rng.uniform(0, 0.5, count), rng.uniform(0.7, 1, count)], axis=1), _EPISODE, axis=0)
    angles, velocities = (stacks[:, i].reshape(-1, frames).astype(np.float32) for i in (0, 1))
    order = rng.permutation(len(angles))  # so that `limit` keeps some of every episode
    return angles[order], velocities[order], light[order].astype(np.float32)


def drawn(angle: np.ndarray, light: np.ndarray, size: int) -> np.ndarray:
    """Pictures uint8 [B, size, size, F] of rods with a bob at their end, at `angle` [B, F] from hanging down.

    `light` [B, 2]: brightness of background and rod in [0, 1].
    """
    grid = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * 2
    x, y = grid[:, None], grid[:, None, None]  # columns and rows, in front of the frames
    tip_x, tip_y = (0.7 * f(angle)[:, None, None].astype(np.float32) for f in (np.sin, np.cos))
    along = np.clip((x * tip_x + y * tip_y) / np.float32(0.49), 0, 1)
    rod = np.float32(0.06) - np.sqrt(np.square(x - along * tip_x) + np.square(y - along * tip_y))
    bob = np.float32(0.18) - np.sqrt(np.square(x - tip_x) + np.square(y - tip_y))
    covered = np.clip(np.maximum(rod, bob) * np.float32(size / 2) + np.float32(0.5), 0, 1)  # one pixel of soft edge
    back, front = light[:, 0, None, None, None], light[:, 1, None, None, None]
    return np.round(255 * (back + (front - back) * covered)).astype(np.uint8)
