"""How much accuracy is left on corrupted records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Errors = Mapping[str, Sequence[float]]  # corruption -> error at each severity, from the mildest on


def mean_corruption_error(errors: Errors, baseline: Errors) -> float:
    """mCE (Hendrycks & Dietterich 2019, eq. 1): errors over those of a baseline, summed over severities, mean over
    corruptions. 1 is the baseline itself."""
    return float(np.mean([sum(errors[name]) / max(sum(baseline[name]), 1e-12) for name in errors]))


def relative_corruption_error(errors: Errors, clean: float, baseline: Errors, baseline_clean: float) -> float:
    """Relative mCE (the same, eq. 2): as above, of the error that the corruption adds to the `clean` one."""
    added = lambda each, own: sum(each) - len(each) * own  # noqa: E731
    ratios = [added(errors[name], clean) / added(baseline[name], baseline_clean) for name in errors]
    return float(np.mean(ratios))


def mean_accuracy(errors: Errors) -> float:
    """1 minus the mean error over corruptions and severities."""
    return float(1 - np.mean([np.mean(each) for each in errors.values()]))
