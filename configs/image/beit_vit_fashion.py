"""BEiT with a small ViT on the embedded Fashion-MNIST subset.

    ssl-jax train --config beit_vit_fashion --workdir runs/beit

Blocks that hide 6 of 16 patches of 7x7 pixels are mask tokens, and which of 256 codes they have is told. Codes are the centres
of patches of the training images. Features are the mean of the patches after two of four blocks.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import masked_run

RESULT = ":full, 120k examples: linear 81.4 % (random init 77.5, pixels 84.8); 100 labels per class 75.3 (69.0, 79.7)"


def get_config(arg: str = "") -> ConfigDict:
    objective = dict(
        target="ssl_jax.objectives.beit:BEiT", mask_ratio=0.4, smallest=2, codes=32 if arg == "tiny" else 256,
        fit_records=200 if arg == "tiny" else 2000,
    )  # fmt: skip
    return ConfigDict(masked_run(arg, examples=120_000, read=2) | dict(objective=objective))
