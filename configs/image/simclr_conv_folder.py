"""SimCLR with a small convolutional encoder on a folder of pictures, for a CPU: 64 pixels.

    ssl-jax train --data /photos --config simclr_conv_folder --workdir runs/mine

Random crops are cut from whole pictures on the host (`data.crop`); flips and colours follow on the device.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import folder_run, folder_views, small_conv

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    views = dict(count=2, scale=(0.2, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0.1), jitter_prob=0.8, grey=0.2)
    run = folder_run(tiny, 64, batch_size=256, epochs=100)
    labels = dict(baselines=("random", "supervised"), supervised_examples=4_000, supervised_few_examples=1_000)
    return ConfigDict(
        run
        | dict(
            objective=dict(target="ssl_jax.objectives.simclr:SimCLR", temperature=0.2, hidden=(256,), out=64),
            model=small_conv(),
            augment=folder_views(tiny, 64, image=views),
            optimizer=dict(name="adamw", lr=2e-3, reference_batch=256, weight_decay=1e-4),
            evaluate=run["evaluate"] | ({} if tiny else labels | dict(shots=(10,))),
        )
    )
