"""SimCLR with a ResNet-50 on ImageNet, as in arXiv 2002.05709.

    ssl-jax train --config simclr_resnet50_in1k --workdir runs/simclr

LARS with the rate inside the momentum and twice the mean loss, as in the authors' code; pixels stay in [0, 1] and jitter is
TensorFlow's.
Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import UNCHANGED_PIXELS, in1k_run, preset_views

RESULT = "not run here; the paper reports 69.3 % linear"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    return ConfigDict(
        in1k_run(tiny, batch_size=4096, epochs=1000, warmup=10)
        | dict(
            objective=dict(
                target="ssl_jax.objectives.simclr:SimCLR", temperature=0.1, hidden=(2048,), out=128, scale=2.0
            )
            | (dict(hidden=(32,), out=16) if tiny else {}),
            augment=preset_views(tiny, UNCHANGED_PIXELS, dict(jitter_backend="tf"), image=("simclr", 224)),
            optimizer=dict(name="lars_simclr", lr=0.3, reference_batch=256, weight_decay=1e-6),
        )
    )
