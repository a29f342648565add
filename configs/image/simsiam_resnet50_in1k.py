"""SimSiam with a ResNet-50 on ImageNet, as in arXiv 2011.10566.

    ssl-jax train --config simsiam_resnet50_in1k --workdir runs/simsiam

SGD without warm-up, weight decay on everything, a constant rate for the predictor. The cosine moves every step, not every
epoch as theirs.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import in1k_run, preset_views

RESULT = "not run here; the authors report 68.3 % linear after 100 epochs"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=256, epochs=100)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.simsiam:SimSiam", hidden=(2048, 2048), out=2048, predictor_hidden=512
            )
            | (dict(hidden=(32, 32), out=32, predictor_hidden=8) if tiny else {}),
            augment=preset_views(tiny, image=("simsiam", 224)),
            optimizer=dict(
                name="sgd",
                lr=0.05,
                reference_batch=256,
                weight_decay=1e-4,
                no_decay="",
                groups=(("^predictor/", dict(constant=True)),),
            ),
        )
    )
