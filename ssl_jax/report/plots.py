"""Arrays -> PNG files (as bytes) for people: maps of features; and numbers as they are written beside curves.

The functions are pure: no file is written, no global state of matplotlib is touched, and the same arrays give the same
picture. The colours (Tol's muted scheme) stay apart under colour blindness,
and are never the only sign.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from ssl_jax.report.panels.paper import INK, MUTED, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES = ("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499", "#DDCC77", "#44AA99", "#882255", "#999933", "#777777")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")  # 7 shapes and 10 colours: 70 classes before one comes again
DOTS_PER_INCH = 220
FEW_POINTS = 20  # up to so many each is shown by a dot, and there is nothing to smooth


def scatter(
    points: np.ndarray,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    *,
    title: str = "",
    note: str = "",
) -> bytes:
    """A PNG of `points` [N, 2]: colour and shape by `labels` int [N], each class named at its middle."""
    figure, axes = _axes(title, (5.2, 5.0))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    points = np.asarray(points)
    labels = np.zeros(len(points), int) if labels is None else np.asarray(labels)
    present = np.unique(labels)
    order = np.random.default_rng(0).permutation(len(points))  # so that no class lies over all others
    size = float(np.clip(30_000 / max(len(points), 1), 5, 40))
    for part in np.array_split(order, min(20, max(len(points) // 50, 1))):
        for place, label in enumerate(present):
            mine = part[labels[part] == label]
            axes.scatter(
                points[mine, 0],
                points[mine, 1],
                s=size,
                c=CLASSES[place % len(CLASSES)],
                marker=MARKERS[place % len(MARKERS)],
                alpha=0.75,
                linewidths=0,
            )
    if note:
        axes.text(0, -0.01, note, transform=axes.transAxes, color=MUTED, size=8.5, va="top")
    axes.set_aspect("equal", adjustable="datalim")
    if len(present) > 1:
        _name_classes(figure, axes, [(class_name(label, classes), points[labels == label]) for label in present])
    return _png(figure)


def embed_2d(features: np.ndarray, method: str = "pca", seed: int = 0) -> np.ndarray:
    """Float32 [N, 2]: `features` [N, F] by their two principal components ("pca"), or by t-SNE from there ("tsne").

    t-SNE (van der Maaten & Hinton 2008) sees at most 50 components; its perplexity is 30, less for under 91 points.
    """
    from sklearn.decomposition import PCA

    features = np.asarray(features, np.float32)
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(features).astype(np.float32)
    if method != "tsne":
        raise ValueError(f"method={method!r}: one of 'pca', 'tsne'")
    from sklearn.manifold import TSNE

    components = PCA(min(50, *features.shape), random_state=seed).fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(components).astype(np.float32)


def class_name(label: int, classes: Sequence[str]) -> str:
    """The name of a class, or its number."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def number(value: float) -> str:
    """Four digits, and every digit before the point: `0.05012`, `12.3`, `12,500`; `4.0e-04` where it is very small or large."""
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.1e}"


# ------------------------------------------------------------------------------------------------------------- drawing


def _axes(title: str, inches: tuple[float, float]) -> tuple[Figure, Axes]:
    """A bare figure, outside of pyplot's registry."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK, size=12, weight="bold", pad=10)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    axes.xaxis.label.set(color=MUTED, size=9)
    axes.yaxis.label.set(color=MUTED, size=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    return figure, axes


def _png(figure: Figure) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
        return file.getvalue()


def _name_classes(figure: Figure, axes: Axes, groups: Sequence[tuple[str, np.ndarray]]) -> None:
    """Names where their points are densest, moved up or down until none covers another."""
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    texts = []
    for (name, points), colour in zip(groups, cycle(CLASSES), strict=False):
        dark = tuple(0.6 * part for part in to_rgb(colour))
        outline = [withStroke(linewidth=3.5, foreground="white")]
        x, y = _densest(points)
        texts.append(axes.text(x, y, name, color=dark, weight="bold", size=10, ha="center", va="center",
                               path_effects=outline))  # fmt: skip
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the places found here are to stay
    boxes = [text.get_window_extent() for text in texts]
    centres = np.array([[(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2] for box in boxes])
    sizes = np.array([[box.width + 4, box.height + 2] for box in boxes])
    for text, centre in zip(texts, _apart(centres, sizes), strict=True):
        x, y = axes.transData.inverted().transform(centre)
        text.set_position((x, y))


def _densest(points: np.ndarray) -> np.ndarray:
    """The point [2] of `points` [n, 2] whose nearest fifth of the others lies within the smallest radius."""
    points = points[:: max(len(points) // 500, 1)]
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return points[np.argmin(np.sort(distances, axis=1)[:, len(points) // 5])]


def _apart(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`centres` [n, 2] of boxes of `sizes` [n, 2], moved along y until no boxes overlap."""
    centres = centres.copy()
    for _ in range(200):  # far more rounds than it takes, but it need not end in a crowd
        moved = False
        for i in range(len(centres)):
            for j in range(i):
                room = (sizes[i] + sizes[j]) / 2 - np.abs(centres[i] - centres[j])
                if (room > 0).all():
                    up = 1.0 if centres[i, 1] >= centres[j, 1] else -1.0
                    centres[i, 1] += up * (room[1] / 2 + 0.5)
                    centres[j, 1] -= up * (room[1] / 2 + 0.5)
                    moved = True
        if not moved:
            break
    return centres


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Means with weights `weight ** distance` to both sides, so that a slope is not delayed; gaps stay gaps."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    past, future = _decayed(filled, weight), _decayed(filled[::-1], weight)[::-1]
    past_count, future_count = _decayed(known, weight), _decayed(known[::-1], weight)[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, (past + future - filled) / (past_count + future_count - known), np.nan)


def _decayed(values: np.ndarray, weight: float) -> np.ndarray:
    total, sums = 0.0, np.empty(len(values))
    for place, value in enumerate(values):
        total = weight * total + value
        sums[place] = total
    return sums
