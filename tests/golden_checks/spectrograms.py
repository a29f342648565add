"""The spectrogram transformer's front end: Kaldi's filter bank, with zeros behind the last frame."""

import jax
import jax.numpy as jnp

from ssl_jax.data.audio.logmel import LogMel, logmel_of


def ast_fbank(entry, arrays, close):
    config, length = entry["config"], entry["config"]["max_length"]
    mel: LogMel = logmel_of({"name": "kaldi", "bands": config["num_mel_bins"]}, config["sr"], "mel")
    energies = jax.jit(mel)(jnp.asarray(arrays["in/waveform"]))
    close(jnp.pad(energies, ((0, length - len(energies)), (0, 0))), arrays["out/fbank"])


CHECKS = {"AudioMAE front-end": ast_fbank}
