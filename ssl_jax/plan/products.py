"""FLOPs of the products in an optimised program, by the kind of number that they multiply.

A product is a `dot`, a `convolution` (as TPUs also write matrix products), or a call of cuBLAS or cuDNN, alone or inside a
fusion. Sums and other element-wise work are not counted: bytes decide how long those take.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

from ssl_jax.plan.hlo import Instruction, Program, Shape, shapes_of

# Which of (first operand, second operand, result) are a convolution's input, kernel and output.
CONVOLUTIONS = {
    "__cudnn$convForward": (0, 1, 2), "__cudnn$convBiasActivationForward": (0, 1, 2),
    "__cudnn$convBackwardInput": (2, 1, 0), "__cudnn$convBackwardFilter": (0, 2, 1),
}  # fmt: skip
HIDDEN = re.compile(r"tpu_custom_call|triton|mosaic|fmha|pallas", re.IGNORECASE)


def products(program: Program, computation: str, i: Instruction) -> Mapping[str, float]:
    """FLOPs of one run of `i`, by dtype: `{"bf16": 2e9}`."""
    if i.operation == "fusion":
        inside = i.called("calls")
        return sum((Counter(products(program, inside, x)) for x in program.computations.get(inside, ())), Counter())
    made = _product(i, [shapes_of(t) for t in program.operand_types(computation, i)])
    return {made[0]: made[1]} if made else {}


def is_kernel(i: Instruction) -> bool:
    """Whether it is a kernel whose work cannot be seen: fused attention."""
    return i.operation == "custom-call" and bool(HIDDEN.search(i.quoted("custom_call_target")))


def _product(i: Instruction, operands: list[list[Shape]]) -> tuple[str, float] | None:
    target = i.quoted("custom_call_target")
    if i.operation == "dot" or target.startswith(("__cublas", "__triton_gemm")):
        left, out = operands[0][0], shapes_of(i.type)[0]
        contracted = i.places("lhs_contracting_dims") or i.places("lhs_contracting_dimensions")
        return left.dtype, 2.0 * math.prod(out.sides) * math.prod(left.sides[d] for d in contracted)
    if i.operation == "convolution" or target in CONVOLUTIONS:
        arrays = (operands[0][0], operands[1][0], shapes_of(i.type)[0])
        roles = CONVOLUTIONS.get(target, (0, 1, 2))
        return arrays[0].dtype, _convolution(i, *(arrays[role].sides for role in roles))
    return None


def _convolution(i: Instruction, left: tuple[int, ...], right: tuple[int, ...], out: tuple[int, ...]) -> float:
    """2 x batch x output channels x channels of the kernel x (output place, kernel place) pairs that meet a real input."""
    match = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", i.rest)
    if not match:
        return 0.0
    sides = [
        dict(zip(labels, shape, strict=False)) for labels, shape in zip(match.groups(), (left, right, out), strict=True)
    ]
    spatial = sorted(label for label in sides[2] if label.isdigit())
    pairs = math.prod(_pairs(i, int(axis), *(side[axis] for side in sides)) for axis in spatial)
    return 2.0 * sides[2]["b"] * sides[2]["f"] * sides[1]["i"] * pairs


def _pairs(i: Instruction, axis: int, size: int, kernel: int, out: int) -> int:
    stride, low = _window(i, "stride", axis, 1), _window(i, "pad", axis, 0)
    spread, hole = _window(i, "lhs_dilate", axis, 1), _window(i, "rhs_dilate", axis, 1)
    places = (x * stride + y * hole - low for x in range(out) for y in range(kernel))
    return sum(1 for at in places if at % spread == 0 and 0 <= at < (size - 1) * spread + 1)


def _window(i: Instruction, name: str, axis: int, default: int) -> int:
    """One number of `window={size=3x3 stride=2x2 pad=1_1x1_1}`; of a padding the lower."""
    match = re.search(rf"[{{ ]{name}=([\dx_\-]+)", i.rest.partition("window=")[2].partition("}")[0].join("{}"))
    return int(match[1].split("x")[axis].split("_")[0]) if match else default
