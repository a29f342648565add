"""Sets with planted duplicates, and how many of them the audit finds: `python tests/audit/planted_pictures.py` prints the table.

Each planted picture of the second set is one of the first set after one change; the rest of the second set is of other pictures.
"""

import io
import sys
import time
from collections import Counter

import numpy as np
from PIL import Image

from ssl_jax.audit.named import Named
from ssl_jax.audit.run import audit
from ssl_jax.data.sources import Embedded


class Pictures:
    """Pictures of any sizes, as a source."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return {"image": self.pictures[index]}

    def fingerprint(self):
        return str(len(self.pictures))


def image(x):
    return Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x)


def array(picture):
    found = np.asarray(picture)
    return found[..., None] if found.ndim == 2 else found


def reencoded(x, rng):
    with io.BytesIO() as file:
        image(x).save(file, "JPEG", quality=int(rng.integers(60, 91)))
        return array(Image.open(file))


def scaled(x, height, width):
    return array(image(x).resize((width, height), Image.Resampling.BICUBIC))


def resized(x, rng):
    factor = rng.uniform(0.5, 2)
    return scaled(x, *(round(n * factor) for n in x.shape[:2]))


def cropped(x, rng):
    """5 % of the height and of the width cut off at random; half are brought back to their size."""
    height, width = (round(0.95 * n) for n in x.shape[:2])
    top, left = (int(rng.integers(0, n - kept + 1)) for n, kept in zip(x.shape, (height, width), strict=False))
    cut = np.ascontiguousarray(x[top : top + height, left : left + width])
    return scaled(cut, *x.shape[:2]) if rng.random() < 0.5 else cut


CHANGES = {
    "exact": lambda x, rng: x.copy(),
    "re-encoded": reencoded,
    "resized": resized,
    "cropped": cropped,
    "flipped": lambda x, rng: np.ascontiguousarray(x[:, ::-1]),
}


def photo(rng, height, width):
    """Something like a photograph: noise whose spectrum falls with the frequency, in colour, with a few discs before it."""
    down, right = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    fall = np.maximum(np.hypot(down, right), 1 / max(height, width)) ** -1.3

    def noise():
        return np.fft.irfft2(fall * (rng.normal(size=fall.shape) + 1j * rng.normal(size=fall.shape)), (height, width))

    grey, *tints = (x / x.std() for x in (noise() for _ in range(4)))
    pixels = np.stack([grey + 0.4 * tint for tint in tints], axis=-1) * 45 + rng.uniform(80, 170, 3)
    y, x = np.mgrid[:height, :width]
    for _ in range(6):
        middle, radius = rng.uniform(0, (height, width)), rng.uniform(0.05, 0.3, 2) * (height, width)
        inside = np.square((y - middle[0]) / radius[0]) + np.square((x - middle[1]) / radius[1]) < 1
        pixels[inside] = 0.3 * pixels[inside] + 0.7 * rng.uniform(0, 255, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def planted(first, others, each, rng):
    """The second set: `each` pictures of `first` after each change, then `others`; and the truth {(i, j): kind}."""
    chosen = rng.choice(len(first), (len(CHANGES), each), replace=False)
    made = [change(first[i], rng) for change, ids in zip(CHANGES.values(), chosen, strict=True) for i in ids]
    kinds = np.repeat(list(CHANGES), each)
    return [*made, *others], {(int(i), j): str(kinds[j]) for j, i in enumerate(chosen.ravel())}


def scores(found, truth):
    """Recall of each kind, how many of those found have the right kind, precision across both sets, and the wrong pairs."""
    across = {tuple(p["ids"]): p["kind"] for p in found["pairs"] if p["sets"] == ["pretrain", "eval"]}
    planted_of, hit = Counter(truth.values()), Counter(kind for pair, kind in truth.items() if pair in across)
    right = sum(across.get(pair) == kind for pair, kind in truth.items())
    wrong = sorted(set(across) - set(truth))
    return {
        "recall": {kind: hit[kind] / planted_of[kind] for kind in planted_of},
        "kind": right / max(sum(hit.values()), 1),
        "precision": 1 - len(wrong) / max(len(across), 1),
        "wrong": wrong,
    }


def audited(first, second, **options):
    return audit(Named("first", Pictures(first)), Named("second", Pictures(second)), **options)


def main(each=400):
    rng = np.random.default_rng(0)
    garments, others = (list(Embedded(split).columns["image"]) for split in ("pretrain", "test"))
    shapes = [(240, 320), (320, 240), (256, 256), (180, 320)]
    photos = [photo(rng, *shapes[i % 4]) for i in range(3000)]
    sets = {
        "garments, 28 x 28": (garments, others, each),
        "generated, 180 to 320": (photos[:2400], photos[2400:], each),
    }
    print("| pictures | planted | " + " | ".join(CHANGES) + " | right kind | precision | s |")
    for name, (first, rest, count) in sets.items():
        second, truth = planted(first, rest, count, rng)
        start = time.time()
        found = scores(audited(first, second, within=False), truth)
        told = [f"{value:.3f}" for value in (*found["recall"].values(), found["kind"], found["precision"])]
        print(
            f"| {name}, {len(first):,} and {len(second):,} | {len(truth):,} | {' | '.join(told)} | {time.time() - start:.0f} |"
        )
        print(found["wrong"], file=sys.stderr)


if __name__ == "__main__":
    main()
