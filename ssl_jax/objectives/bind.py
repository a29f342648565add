"""ImageBind: modalities that need not meet each other are bound to one that meets them all.

Girdhar et al. 2023, "ImageBind: One Embedding Space To Bind Them All", arXiv 2305.05665.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssl_jax.errors import UserError
from ssl_jax.objectives.clip import CLIP


@dataclass(frozen=True)
class Bind(CLIP):
    """The sum of CLIP's loss over named `pairs` of modalities (eq. 1, in both directions), each with a scale of its own.

    pairs: names of two towers each; () for the first tower with each of the others.

    Fidelity: every record has all modalities, and all towers are learned unless `adapt` says otherwise; the paper takes pairs
    from several sets, and keeps CLIP's towers of pictures and texts as they are.
    """

    pairs: tuple[tuple[str, str], ...] = ()  # type: ignore[assignment]  # a field where the base has a property

    def __post_init__(self) -> None:
        first, *others = self.augment.parts
        pairs = tuple(tuple(pair) for pair in self.pairs) or tuple((first, name) for name in others)
        object.__setattr__(self, "pairs", pairs)
        super().__post_init__()
        for pair in pairs:
            if len(set(pair)) != 2 or not set(pair) <= set(self.augment.parts):
                raise UserError(f"objective.pairs: {pair} are no two of {', '.join(self.augment.parts)}")
        if left := set(self.augment.parts) - {name for pair in pairs for name in pair}:
            raise UserError(
                f"objective.pairs: {', '.join(sorted(left))} is in no pair; name one, or leave the tower out"
            )
