"""Records of several modalities: a picture and its caption, a sound and its words, a clip with both."""

from ssl_jax.data.pairs.together import Together as Together
