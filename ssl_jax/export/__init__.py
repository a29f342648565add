"""A trained encoder for others: weights with the config.json of a library that loads them, a model card, a compiled program."""
