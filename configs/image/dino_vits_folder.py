"""DINO with a ViT-S/16 on a folder of pictures, for one GPU: two crops of 224 pixels and six of 96.

    ssl-jax train --data /photos --config dino_vits_folder --workdir runs/mine

As in arXiv 2104.14294, with fewer prototypes and small crops, since there is less to tell apart; the teacher is evaluated.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.recipe.fragments.image import folder_run, folder_views, tiny_heads, token_adamw, token_vit

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    local = PRESETS["dino_local"] | dict(count=2 if tiny else 6, size=16 if tiny else 96)
    return ConfigDict(
        folder_run(tiny, 224, batch_size=128, epochs=100, encoder="teacher")
        | dict(
            objective=tiny_heads(
                tiny,
                target="ssl_jax.objectives.dino:DINO",
                prototypes=8192,
                hidden=2048,
                bottleneck=256,
                teacher_temperature=(0.04, 0.04),
                momentum=(0.998, 1.0),
            ),
            model=token_vit(tiny, "S", drop_path=0.1),
            augment=folder_views(tiny, 224, image=PRESETS["dino"], local=local),
            optimizer=token_adamw(
                5e-4, (r"^head/(prototypes|magnitude)$", dict(freeze_until_percent=1)), reference_batch=256
            ),
            schedule=dict(name="cosine", warmup_percent=10, final=1e-3),
        )
    )
