"""I-JEPA with a ViT-S/16 on a folder of pictures, for one GPU: 224 pixels.

    ssl-jax train --data /photos --config ijepa_vits_folder --workdir runs/mine

Views, masks and optimiser as in arXiv 2301.08243, with a smaller encoder and predictor; the teacher is evaluated.
Random crops are cut from whole pictures on the host (`data.crop`).
"""

from ml_collections import ConfigDict

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.recipe.fragments.image import folder_run, folder_views, small_vit

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    small = dict(predictor_width=32, predictor_depth=1, min_keep=6, context_tokens=16)
    sizes = small if tiny else dict(predictor_width=192, predictor_depth=6, context_tokens=64)
    model = dict(class_token=False, remat="none")
    return ConfigDict(
        folder_run(tiny, 224, batch_size=256, epochs=300, encoder="teacher")
        | dict(
            objective=dict(target="ssl_jax.objectives.ijepa:IJEPA", momentum=(0.998, 1.0), **sizes),
            model=small_vit(32, 2, 2, 4, **model) if tiny else small_vit(384, 12, 6, 16, **model),
            augment=folder_views(tiny, 224, image=PRESETS["ijepa"]),
            optimizer=dict(
                name="adamw", lr=1e-3, reference_batch=2048, b2=0.999, weight_decay=0.04, weight_decay_final=0.4
            ),
            schedule=dict(name="cosine", start=0.2, final=1e-3, warmup_percent=10),
        )
    )
