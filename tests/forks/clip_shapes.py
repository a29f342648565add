"""CLIP on coloured shapes and their captions; both towers are probed, and how well one finds the other."""

from ml_collections import ConfigDict
from pairs import CAPTION, SIDE
from recipes import WIDTH, run


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; it has one size."""
    shared = run("pairs:Captioned", "pairs:Captioned")
    image = dict(target="ssl_jax.data.image.views:ImageViews", size=SIDE, mean=(0.5,), std=(0.5,))
    return ConfigDict(
        shared
        | dict(
            objective=dict(target="clip:CLIP"),
            model=dict(
                image=dict(target="ssl_jax.models.vit:ViT", patch=4, mlp_dim=32, remat="none", **WIDTH),
                text=dict(target="text_models:TextEncoder", words=len(CAPTION), **WIDTH),
            ),
            augment=dict(
                target="pairs:Pair",
                image=image | dict(views=dict(image=dict(count=1, scale=(0.6, 1.0)))),
                text=dict(target="texts:TokenViews", words=CAPTION),
            ),
            evaluate=shared["evaluate"] | dict(encoder=("image", "text"), probes=("linear", "retrieval:Retrieval")),
        )
    )
