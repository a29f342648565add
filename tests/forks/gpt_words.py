"""Next-token prediction on packed rows; probed on single sentences, whose records have other fields."""

from ml_collections import ConfigDict
from recipes import WIDTH, run
from texts import WORDS


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; it has one size."""
    return ConfigDict(
        run("texts:Packed", "texts:Sentences")
        | dict(
            objective=dict(target="gpt:GPT"),
            model=dict(target="text_models:TextEncoder", words=len(WORDS), causal=True, **WIDTH),
            augment=dict(target="texts:TokenViews"),
        )
    )
