"""What a run depends on beside its recipe and its code, as digests that stand together in env.json and beside each checkpoint."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def augment_digest(augment: Any) -> str:
    """SHA-256 of an augmentation with all of its options, those left to their defaults too: what its dataclass shows of itself.

    Two that draw the same views from the same keys by the same code have one digest.
    """
    return hashlib.sha256(_ADDRESS.sub("", f"{type(augment).__module__} {augment!r}").encode()).hexdigest()
