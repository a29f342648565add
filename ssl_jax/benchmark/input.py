"""`tools/benchmark_input`: what a core makes of photographs in a second, and how many cores an accelerator needs.

Rates per core are of processor time, in rounds that take turns. The pipeline's are of wall time on all cores of the machine.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ssl_jax.benchmark.machine import processor
from ssl_jax.benchmark.timing import Reading, alternate, timed
from ssl_jax.data import threefry
from ssl_jax.data.cropped import cropped
from ssl_jax.data.image import decode
from ssl_jax.data.image.boxes import BOX_DRAWS, Box, random_box
from ssl_jax.data.image.presets import preset
from ssl_jax.data.image.resize import resized
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.pipeline import batches
from ssl_jax.data.sources import Arrays, ImageFolder, Source
from ssl_jax.errors import UserError

HEIGHT, WIDTH, QUALITY, SIZE = 375, 500, 92, 224
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # torchvision's defaults, and ImageNet's
OCTAVES = ((3, 4, 60), (9, 12, 34), (30, 40, 18), (94, 125, 9), (375, 500, 2))  # rows, columns, strength
PACKAGES = ("ssl_jax", "numpy", "pillow", "simplejpeg", "opencv-python-headless", "cykooz-resizer", "jax", "grain")
RATES = (1_000, 3_000, 10_000)  # images a second that an accelerator takes
_MIDDLE: Box = (60, 80, 250, 330)  # the second view of every photograph, of 44 % of it: the mean
_held: list[tuple[bytes, Box]]  # in a process that measures: photographs, and where they are cut
TURNS = 3  # of wall time; the best is the one that was disturbed least
USABLE = 0.8  # of a core's rate, beside everything else that a trainer does
TORCH = Path(__file__).parent / "peers" / "torch_input.py"


@dataclass(frozen=True)
class Settings:
    """How many photographs, how many rounds over them, batches of the pipeline, and the Python that has torch (if any)."""

    photos: int = 96
    rounds: int = 9
    batches: int = 12
    batch: int = 32
    torch_python: str | None = None


def measure(settings: Settings) -> dict[str, Any]:
    """Everything, as JSON-ready values."""
    photos = [photo(seed) for seed in range(settings.photos)]
    rates = per_core(photos, settings.rounds)
    with folder(photos) as root:
        pipeline = pipelines(root, settings)
        torch = peers(root, settings)
    return {
        "made_by": "tools/benchmark_input",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "hardware": {"processor": processor(), "cores": os.cpu_count()},
        "photos": {
            "count": len(photos),
            "pixels": [WIDTH, HEIGHT],
            "quality": QUALITY,
            "bytes": _mean(map(len, photos)),
        },
        "rounds": settings.rounds,
        "per_core": rates,
        "pixel_error": errors(photos),
        "pipeline": pipeline,
        "device": on_device(settings.batch),
        "cores_needed": cores(rates["antialias"]["median"]),
        "torch": torch,
    }


def photo(seed: int) -> bytes:
    """A JPEG with the size and the bytes of an ImageNet photograph: smooth shapes, edges and a little grain."""
    from PIL import Image

    rng, total = np.random.default_rng(seed), np.full((HEIGHT, WIDTH, 3), 118.0)
    for rows, columns, strength in OCTAVES:
        grey, colour = rng.standard_normal((rows, columns, 1)), rng.standard_normal((rows, columns, 3))
        total += strength * np.stack([_enlarged(plane) for plane in np.moveaxis(grey + 0.4 * colour, 2, 0)], axis=2)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(total, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def per_core(photos: Sequence[bytes], rounds: int, names: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Photographs a second of processor time, by what is done (`ACTS`): decoding alone, or with crops of 224 pixels.

    Each has a process of its own, as in a loader, so that nobody works in memory that another has warmed.
    """
    given = photos, drawn_boxes(len(photos))
    with ExitStack() as stack:
        alone = partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"), _hold, given)
        pools = {name: stack.enter_context(alone()) for name in names or ACTS}
        found = alternate({name: partial(_elsewhere, pool, name) for name, pool in pools.items()}, rounds + 1)
    return {name: _rates(readings[1:], len(photos)) for name, readings in found.items()}  # the first warms up


def pillow_crop(data: bytes, box: Box) -> np.ndarray:
    """What torchvision does to a PIL image: decode, crop, resize."""
    from PIL import Image

    top, left, height, width = box
    cut = _pillow(data).crop((left, top, left + width, top + height))
    return np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def crops(data: bytes, boxes: Sequence[Box], mode: str) -> list[np.ndarray]:
    """The same by our decoder and resizer: decoded once for all boxes."""
    image = decode.decoded(data)
    return [resized(image, box, (SIZE, SIZE), "bilinear", mode) for box in boxes]


ACTS: dict[str, Callable[[bytes, Box], Any]] = {
    "Pillow, decode": lambda data, box: _pillow(data),
    "decode": lambda data, box: decode.decoded(data),
    "Pillow": pillow_crop,
    "antialias": lambda data, box: crops(data, (box,), "antialias"),
    "fast": lambda data, box: crops(data, (box,), "fast"),
    "antialias, two views": lambda data, box: crops(data, (box, _MIDDLE), "antialias"),
    "fast, two views": lambda data, box: crops(data, (box, _MIDDLE), "fast"),
}


def drawn_boxes(count: int) -> list[Box]:
    """Boxes as RandomResizedCrop draws them in these photographs."""
    keys = threefry.example_keys(0, np.zeros(count, int), np.arange(count))
    return [random_box(draw, HEIGHT, WIDTH, SCALE, RATIO) for draw in threefry.uniform(keys, BOX_DRAWS)]


def errors(photos: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Difference to Pillow in grey levels of 255, over all pixels of all crops."""
    boxes = drawn_boxes(len(photos))
    expected = [pillow_crop(data, box).astype(int) for data, box in zip(photos, boxes, strict=True)]
    return {
        mode: _apart([crops(data, (box,), mode)[0] for data, box in zip(photos, boxes, strict=True)], expected)
        for mode in ("antialias", "fast")
    }


def pipelines(root: Path, settings: Settings) -> dict[str, float]:
    """Records a second of wall time by the real pipeline, the best of three turns."""
    augment = ImageViews(SIZE, (0.5,), (0.25,), {"image": preset("moco_v2", SIZE)})
    whole = ImageFolder(root, size=256)
    exact, fast = (cropped(whole, augment, "host", mode, 0) for mode in ("antialias", "fast"))
    np.save(root / "cache.npy", np.zeros((256, 256, 256, 3), np.uint8))
    cases: dict[str, Callable[[], float]] = {
        "host crops, in the calling thread": partial(rate, exact, settings),
        "host crops, 2 threads": partial(rate, exact, settings, threads=2),
        "host crops, 2 workers": partial(rate, exact, settings, workers=2),
        "host crops, fast, 2 threads": partial(rate, fast, settings, threads=2),
        "squares of 256 for the device, 2 threads": partial(rate, whole, settings, threads=2),
        "raw uint8 cache of 256 pixels": partial(rate, Arrays({"image": str(root / "cache.npy")}), settings),
    }
    turns = [{name: case() for name, case in cases.items()} for _ in range(TURNS)]
    return {name: max(turn[name] for turn in turns) for name in cases}


def rate(source: Source, settings: Settings, threads: int = 0, workers: int = 0) -> float:
    """Records a second after the first batches, which start what reads."""
    stream = batches(source, seed=0, batch_size=settings.batch, threads=threads, workers=workers, prefetch=4)
    with closing(stream):
        for _ in range(5):  # as many as are ready at once
            next(stream)
        start = time.perf_counter()
        for _ in range(settings.batches):
            next(stream)
        return settings.batches * settings.batch / (time.perf_counter() - start)


def on_device(batch: int) -> dict[str, Any]:
    """Milliseconds an image of two views of SimCLR: all of it on the device, and what host crops leave to it."""
    import jax

    augment = ImageViews(SIZE, (0.5,), (0.25,), {"image": preset("moco_v2", SIZE)})
    keys = jax.random.split(jax.random.key(0), batch)
    given = {"crops and colours": (batch, 256, 256, 3), "colours, after crops on the host": (batch, 2, SIZE, SIZE, 3)}
    found: dict[str, Any] = {"kind": jax.devices()[0].device_kind}
    for name, shape in given.items():
        images = jax.device_put({"image" if len(shape) == 4 else "image/image": np.zeros(shape, np.uint8)})
        program = jax.jit(augment).lower(keys, images).compile()
        augmented = partial(_awaited, partial(program, keys, images))
        readings = [timed(augmented) for _ in range(4)][1:]
        found[name] = 1000 * median(r.wall for r in readings) / batch
    return found


def cores(images_per_second: float) -> dict[str, int]:
    """How many cores feed an accelerator that takes so many images a second."""
    return {str(wanted): int(np.ceil(wanted / (USABLE * images_per_second))) for wanted in RATES}


def peers(root: Path, settings: Settings) -> dict[str, Any] | None:
    """What torch's DataLoader and torchvision do with the same files, in a process of their own; None without a Python."""
    if settings.torch_python is None:
        return None
    asked = json.dumps(
        {"root": str(root), "batch": settings.batch, "batches": settings.batches, "size": SIZE, "turns": TURNS}
    )
    done = subprocess.run([settings.torch_python, str(TORCH), asked], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"--torch-python {settings.torch_python}: {done.stderr.strip().splitlines()[-1:]}; it needs torchvision"
        )
    return json.loads(done.stdout)


@contextmanager
def folder(photos: Sequence[bytes]) -> Iterator[Path]:
    """A temporary folder with the photographs in one class."""
    with TemporaryDirectory() as root:
        (Path(root) / "class").mkdir()
        for number, data in enumerate(photos):
            (Path(root) / "class" / f"{number:04}.jpg").write_bytes(data)
        yield Path(root)


def as_text(found: dict[str, Any]) -> str:
    """The table for people."""
    reference = found["per_core"]["Pillow"]["median"]
    photos = found["photos"]
    lines = [f"{photos['count']} JPEGs of {WIDTH} x {HEIGHT}, quality {QUALITY}, {photos['bytes'] / 1000:.0f} kB each"]
    lines += ["", "images a second of one core (least to most of the rounds), and against Pillow with a crop"]
    lines += [
        f"  {name:24} {r['median']:7.0f}  ({r['least']:.0f} to {r['most']:.0f})  x {r['median'] / reference:.2f}"
        for name, r in found["per_core"].items()
    ]
    lines += ["", "difference to Pillow in grey levels of 255: mean, 99 % are below, most"]
    lines += [f"  {m:24} {e['mean']:.3f}  {e['p99']:.0f}  {e['most']:.0f}" for m, e in found["pixel_error"].items()]
    lines += [
        "",
        f"records a second of wall time, best of three turns, two views each, on {found['hardware']['cores']} cores",
    ]
    lines += [f"  {name:42} {value:8.0f}" for name, value in found["pipeline"].items()]
    lines += ["", f"augmentation of two views on {found['device']['kind']}, milliseconds an image"]
    lines += [f"  {name:42} {value:8.2f}" for name, value in found["device"].items() if name != "kind"]
    told = ", ".join(f"{need} for {int(wanted):,}" for wanted, need in found["cores_needed"].items())
    lines += ["", f"cores for so many images a second (one antialiased view): {told}"]
    torch = found["torch"]
    lines += ["", "torch: not measured (--torch-python)" if torch is None else f"torch: {json.dumps(torch)}"]
    return "\n".join(lines)


def _awaited(call: Callable[[], Any]) -> None:
    import jax

    jax.block_until_ready(call())


def _pillow(data: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(data)).convert("RGB")


def _enlarged(plane: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def _hold(photos: Sequence[bytes], boxes: Sequence[Box]) -> None:
    global _held
    _held = list(zip(photos, boxes, strict=True))


def _elsewhere(pool: ProcessPoolExecutor, name: str) -> Reading:
    return pool.submit(_over_all, name).result()


def _over_all(name: str) -> Reading:
    act = ACTS[name]
    return timed(lambda: [act(data, box) for data, box in _held])


def _rates(readings: Sequence[Reading], count: int) -> dict[str, float]:
    rates = [count / reading.cpu for reading in readings]
    return {"median": median(rates), "least": min(rates), "most": max(rates)}


def _apart(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> dict[str, float]:
    apart = np.abs(np.stack(found).astype(int) - np.stack(expected))
    return {"mean": float(apart.mean()), "p99": float(np.quantile(apart, 0.99)), "most": float(apart.max())}


def _mean(numbers: Any) -> float:
    return float(np.mean(list(numbers)))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
