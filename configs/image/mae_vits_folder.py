"""MAE with a ViT-S/16 on a folder of pictures, for one GPU: 224 pixels, of which a quarter is seen.

    ssl-jax train --data /photos --config mae_vits_folder --workdir runs/mine

Views, masks and optimiser as in arXiv 2111.06377; the encoder is smaller than any there, and so is its decoder.
Random crops are cut from whole pictures on the host (`data.crop`), and flipped on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.recipe.fragments.image import folder_run, folder_views, small_vit

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    width, depth, heads = (32, 1, 2) if tiny else (256, 4, 8)
    decoder = dict(decoder_width=width, decoder_depth=depth, decoder_heads=heads)
    return ConfigDict(
        folder_run(tiny, 224, batch_size=256, epochs=400)
        | dict(
            objective=dict(target="ssl_jax.objectives.mae:MAE", mask_ratio=0.75, **decoder),
            model=small_vit(32, 2, 2, 4) if tiny else small_vit(384, 12, 6, 16),
            augment=folder_views(tiny, 224, image=PRESETS["mae"]),
            optimizer=dict(name="adamw", lr=1.5e-4, reference_batch=256, b2=0.95, weight_decay=0.05),
            schedule=dict(name="cosine", warmup_percent=5),
        )
    )
