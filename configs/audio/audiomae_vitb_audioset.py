"""AudioMAE with ViT-B/16 on AudioSet with the paper's hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config audiomae_vitb_audioset --topology v5e:4x4
    ssl-jax train --config audiomae_vitb_audioset --workdir runs/audiomae

Huang et al. 2022, "Masked Autoencoders that Listen", arXiv 2207.06405. Put the clips of 10 s at data/audioset, at any depth,
or set data.pretrain.root. 1024 frames of 128 bands are 64 x 8 patches, of which a fifth is seen; waves are rolled and made
louder. Of the two decoders of the paper this has the local one, 16 blocks in windows of 4 x 4 patches, whose borders stand 2
patches of time earlier in every other block; `--config.objective.decoder_window="()" --config.objective.decoder_depth=8` is the
global one.

Fidelity: the decoder's blocks are a ViT's. The authors' are those of Swin, version 2: norms after branches, attention by cosines,
and relative positions beside the fixed ones. Attention within windows is a mask here, at the cost of attention to all.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.audio import AUDIOSET, RATE, SPEECH, audio_vit, generated, spectrogram_views
from ssl_jax.recipe.fragments.common import evaluation

RESULT = ""


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    sizes = (
        dict(decoder_width=32, decoder_depth=2, decoder_heads=2) if tiny else dict(decoder_width=512, decoder_depth=16)
    )
    decoder = dict(**sizes, decoder_window=(4, 4), decoder_shift=(2, 0))
    clips = dict(
        target="ssl_jax.data.sources:AudioFolder", root="data/audioset", labelled=False, rate=RATE, seconds=10.26
    )
    views = dict(frames=32 if tiny else 1024, changes=dict(roll=True, gain=(-6.0, 6.0)), **AUDIOSET)
    return ConfigDict(
        dict(
            seed=0,
            batch_size=32 if tiny else 512,
            **(dict(total_examples=128) if tiny else dict(total_epochs=33)),
            objective=dict(target="ssl_jax.objectives.mae:MAE", mask_ratio=0.8, **decoder),
            model=audio_vit(32, 2, 2, (16, 16))
            if tiny
            else audio_vit(768, 12, 12, (16, 16), dtype="bfloat16", remat="none", attention="auto"),
            data=generated(0.5, 256) if tiny else dict(pretrain=clips, examples=1_912_134, threads=16, prefetch=32),
            augment=spectrogram_views(SPEECH) | views,
            optimizer=dict(name="adamw", lr=2e-4, reference_batch=256, b2=0.95, weight_decay=1e-4),
            schedule=dict(name="cosine", **(dict(warmup_percent=10) if tiny else dict(warmup_epochs=3))),
            mesh=dict(data=-1),
            checkpoint=dict(every_percent=5),
            evaluate=evaluation("student", tiny),
            log=dict(every_steps=2 if tiny else 50),
        )
    )
