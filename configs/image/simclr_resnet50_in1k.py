"""SimCLR with ResNet-50 on ImageNet-1k with the authors' hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config simclr_resnet50_in1k --topology v5e:8x8
    ssl-jax train --config simclr_resnet50_in1k --workdir runs/simclr-r50

Chen et al. 2020, arXiv 2002.05709, section 2.2: batch 4096, LARS, 100 epochs, without mean and standard deviation of the
pixels. Put the images at data/imagenet/train/<class>, or set data.pretrain.root.
"""

from ml_collections import ConfigDict

from ssl_jax.data.presets import PRESETS
from ssl_jax.recipe.fragments import FASHION_PIXELS, embedded, evaluation, frozen_evaluation, image_views, imagenet

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    unit = dict(mean=(0.0,) * 3, std=(1.0,) * 3)
    views = PRESETS["simclr"] | (dict(jitter=(0.8, 0.8, 0.0, 0.0), grey=0.0) if tiny else dict(jitter_backend="tf"))
    head = dict(hidden=(32,), out=16) if tiny else dict(hidden=(2048,), out=128)
    model = dict(depth=18, stem="small", width=8) if tiny else dict(depth=50, dtype="bfloat16")
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 4096,
            **(dict(total_examples=256) if tiny else dict(total_epochs=100)),
            # scale=2: the authors' code follows the gradient of twice the loss, which matters to biases and norms.
            objective=dict(target="ssl_jax.objectives.simclr:SimCLR", temperature=0.1, scale=2.0, **head),
            model=dict(target="ssl_jax.models.resnet:ResNet", **model),
            data=embedded(limit=500) if tiny else imagenet("data/imagenet"),
            augment=image_views(28 if tiny else 224, FASHION_PIXELS if tiny else unit, views),
            optimizer=dict(name="lars_simclr", lr=0.3, reference_batch=256, weight_decay=1e-6),
            schedule=dict(name="cosine", **(dict(warmup_percent=10) if tiny else dict(warmup_epochs=10))),
            mesh=dict(data=-1),
            checkpoint=dict(every_percent=5),
            evaluate=evaluation("student", tiny) if tiny else frozen_evaluation("student"),
            log=dict(every_steps=4 if tiny else 50),
        )
    )
