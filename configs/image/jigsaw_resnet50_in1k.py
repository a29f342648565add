"""Jigsaw with a ResNet-50 on ImageNet: the task of arXiv 1603.09246 as in vissl.

    ssl-jax train --config jigsaw_resnet50_in1k --workdir runs/jigsaw

Views of 255 pixels, cells of 85, tiles of 64, 2000 orders, 1000 features of each tile, a linear classifier on all nine.
Views are cut on the device, 255 pixels of squares of 256: such a crop fits no whole picture that is not square.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; no number of the authors for this network"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    run = in1k_run(
        tiny,
        batch_size=256,
        epochs=105,
        warmup=5,
        start=0.25,
        name="milestones",
        milestones=(30 / 105, 60 / 105, 90 / 105, 100 / 105),
    )
    return ConfigDict(
        run
        | dict(
            data=run["data"] | dict(crop="device"),
            objective=dict(
                target="ssl_jax.objectives.jigsaw:Jigsaw", permutations=2000, tile=64, tile_out=1000, hidden=()
            )
            | (dict(permutations=20, tile=8, tile_out=32) if tiny else {}),
            augment=preset_views(tiny, image=("jigsaw", 255)),
            optimizer=dict(name="sgd", lr=0.1, reference_batch=256, weight_decay=1e-4, no_decay=""),
        )
    )
