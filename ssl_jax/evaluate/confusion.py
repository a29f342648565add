"""What is taken for what: the confusion matrix and the measures that come of it."""

from __future__ import annotations

from typing import Any

import numpy as np

IGNORED = -1  # a label that counts nowhere


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 [classes, classes]: rows are labels, columns predictions; places labelled -1 are left out."""
    told = labels != IGNORED
    pairs = labels[told].astype(np.int64) * classes + predicted[told]
    return np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)


def class_accuracy(counts: np.ndarray) -> np.ndarray:
    """The share of each class that was found [K]; NaN for a class that does not occur."""
    return _ratio(np.diag(counts), counts.sum(axis=1))


def f1(counts: np.ndarray) -> np.ndarray:
    """Of each class [K]: 2 TP / (2 TP + FP + FN); NaN for a class that occurs neither as label nor as prediction."""
    return _ratio(2 * np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1))


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class [K]: TP / (TP + FP + FN); NaN for a class that occurs nowhere."""
    right = np.diag(counts)
    return _ratio(right, counts.sum(axis=0) + counts.sum(axis=1) - right)


def mean(values: np.ndarray) -> float:
    """The mean over the classes that occur."""
    return float(np.nanmean(values))


def plain(values: np.ndarray) -> list[Any]:
    """Ready for JSON: None for NaN."""
    return [None if np.isnan(v) else float(v) for v in values]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
