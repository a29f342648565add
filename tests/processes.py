"""What worker processes import in tests: nothing but this, so that what they have of jax they have from us."""

import os
import sys

import numpy as np

from ssl_jax.errors import UserError


class Told:
    """A source that tells which process reads it, and whether that one has jax; record `fails_at` is refused."""

    def __init__(self, fails_at=-1):
        self.fails_at = fails_at

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index == self.fails_at:
            raise UserError("no such thing; use another")
        return {"process": np.int64(os.getpid()), "jax": np.bool_("jax" in sys.modules)}

    def fingerprint(self):
        return ""
