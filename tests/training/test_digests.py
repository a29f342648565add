"""The digest of an augmentation follows all of its options, and nothing else."""

from ssl_jax.data.image.views import ImageViews
from ssl_jax.training.digests import augment_digest

VIEWS = {"image": {"count": 2, "scale": (0.2, 1.0)}}


class Own:
    """An augmentation of the user's, which shows nothing but where it lies in memory."""


def test_the_digest_follows_the_options_those_left_to_their_defaults_too():
    digest = augment_digest(ImageViews(28, (0.0,), (1.0,), VIEWS))
    assert digest == augment_digest(ImageViews((28, 28), [0], [1], {"image": {**VIEWS["image"], "flip": 0.0}}))
    assert digest != augment_digest(ImageViews(28, (0.0,), (1.0,), {"image": {**VIEWS["image"], "flip": 0.5}}))
    assert augment_digest(Own()) == augment_digest(Own())
