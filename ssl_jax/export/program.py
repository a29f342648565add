"""A frozen encoder as one portable program, from records to features: StableHLO with its parameters in it (`jax.export`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
from jax import export

from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Encoder
from ssl_jax.objectives.shared.modules import options_set

PLATFORMS = ("cpu", "cuda", "tpu")
FILE = "encoder.stablehlo"
LOADER = f"""import jax
encode = jax.export.deserialize(bytearray(open("{FILE}", "rb").read())).call
features = encode(records)  # {{records}}"""


def program(encoder: Encoder, variables: Any, records: Mapping[str, jax.ShapeDtypeStruct]) -> bytes:
    """The serialised program: a dict of records [B, ...], of any B, to features float32 [B, F]. Preprocessing is in it.

    Attention is computed in its plain form, which every platform has. UserError where a program of any batch size cannot be
    made of the encoder.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise UserError("--format stablehlo: pip install ssl_jax[export], which brings flatbuffers") from None
    plain = replace(encoder, module=options_set(encoder.module, attention="xla", remat="none"))
    (batch,) = export.symbolic_shape("batch")
    shapes = {name: jax.ShapeDtypeStruct((batch, *x.shape), x.dtype) for name, x in records.items()}
    try:
        made = export.export(jax.jit(lambda given: plain.features(variables, given)), platforms=PLATFORMS)(shapes)
    except Exception as error:  # tracing with a symbol has no common class of errors
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--format stablehlo: no program of any batch size can be made of this encoder: {reason}"
        ) from error
    return bytes(made.serialize())


def loader(records: Mapping[str, jax.ShapeDtypeStruct]) -> str:
    """Three lines of Python that load and call it."""
    told = ", ".join(f"{name}: {x.dtype}[B{''.join(f', {n}' for n in x.shape)}]" for name, x in records.items())
    return LOADER.format(records=f"{{{told}}} -> float32[B, F]")
