"""What records come from. Import sources from here; each kind has a file of its own."""

from ssl_jax.data.sources.arrayrecord import ArrayRecords
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.data.sources.audio_folder import AudioFolder
from ssl_jax.data.sources.audio_generated import GeneratedAudio
from ssl_jax.data.sources.audio_list import AudioList
from ssl_jax.data.sources.base import Source
from ssl_jax.data.sources.described import Described
from ssl_jax.data.sources.embedded import Embedded
from ssl_jax.data.sources.fashion_captions import FashionCaptions
from ssl_jax.data.sources.few import Balanced, FewLabels, Named
from ssl_jax.data.sources.folder import ImageFolder
from ssl_jax.data.sources.frame_folder import FrameFolder
from ssl_jax.data.sources.generated_series import GeneratedSeries
from ssl_jax.data.sources.idx import FashionMNIST, Idx
from ssl_jax.data.sources.indexed import Indexed
from ssl_jax.data.sources.listed import FileList
from ssl_jax.data.sources.matched import Matched
from ssl_jax.data.sources.mined import Mined
from ssl_jax.data.sources.mix import Mix
from ssl_jax.data.sources.moving import MovingFashion
from ssl_jax.data.sources.pairs import Pairs
from ssl_jax.data.sources.parquet import Parquet
from ssl_jax.data.sources.pendulum import Pendulum
from ssl_jax.data.sources.prepared import Tfds
from ssl_jax.data.sources.raw import Raw
from ssl_jax.data.sources.series_files import SeriesFiles
from ssl_jax.data.sources.subset import Labelled, NamedPart, Subset
from ssl_jax.data.sources.tar import Tar
from ssl_jax.data.sources.text_files import JsonLines, TextFiles
from ssl_jax.data.sources.text_parquet import ParquetTexts
from ssl_jax.data.sources.tokens import TokenShards
from ssl_jax.data.sources.transcripts import Transcripts
from ssl_jax.data.sources.video_folder import VideoFolder
from ssl_jax.data.sources.wordnet import Definitions, Glosses, PackedGlosses

__all__ = [
    "ArrayRecords",
    "Arrays",
    "AudioFolder",
    "AudioList",
    "Balanced",
    "Definitions",
    "Described",
    "Embedded",
    "FashionCaptions",
    "FashionMNIST",
    "FewLabels",
    "FileList",
    "FrameFolder",
    "GeneratedAudio",
    "GeneratedSeries",
    "Glosses",
    "Idx",
    "ImageFolder",
    "Indexed",
    "JsonLines",
    "Labelled",
    "Matched",
    "Mined",
    "Mix",
    "MovingFashion",
    "Named",
    "NamedPart",
    "PackedGlosses",
    "Pairs",
    "Parquet",
    "ParquetTexts",
    "Pendulum",
    "Raw",
    "SeriesFiles",
    "Source",
    "Subset",
    "Tar",
    "TextFiles",
    "Tfds",
    "TokenShards",
    "Transcripts",
    "VideoFolder",
]
