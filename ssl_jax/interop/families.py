"""Every family that is known, the more particular ones first, and which of them a file is of."""

from __future__ import annotations

from ssl_jax.interop import timm_vit
from ssl_jax.interop.family import Family

FAMILIES: tuple[Family, ...] = (timm_vit.VIT,)
