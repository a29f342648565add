"""Recordings in files: what is read of them, what is refused, and that parts do not share a speaker."""

import numpy as np
import pytest
import soundfile
import soxr

from ssl_jax.data.audio import decode
from ssl_jax.data.audio.decode import Wanted
from ssl_jax.data.bad import BadRecords
from ssl_jax.data.sources import AudioFolder, AudioList, GeneratedAudio, NamedPart
from ssl_jax.errors import UserError
from ssl_jax.recipe import load, plain
from ssl_jax.recipe.own_data import learning_from, pictures_in
from ssl_jax.recipe.sources import options_of

RATE = 16_000


def tone(seconds=1.0, rate=RATE, hertz=440.0, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def written(path, wave, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **options)
    return path


@pytest.fixture
def sounds(tmp_path):
    """Two classes, three formats."""
    written(tmp_path / "high/a.wav", tone(0.5, hertz=880))
    written(tmp_path / "high/b.flac", tone(2.0, hertz=880))
    written(tmp_path / "low/c.ogg", tone(1.0, 44_100, 220), 44_100)
    written(tmp_path / "low/d.mp3", tone(1.5, 44_100, 220), 44_100)
    return tmp_path


def test_a_folder_gives_waves_that_are_valid_up_to_their_end_and_classes(sounds):
    source = AudioFolder(sounds)
    assert len(source) == 4
    assert source.classes == ("high", "low")
    assert source.values("label").tolist() == [0, 0, 1, 1]
    assert [source[i]["wave"].shape for i in range(4)] == [(RATE,)] * 4
    assert [int(source[i]["valid"].sum()) for i in range(4)] == [RATE // 2, RATE, RATE, RATE]
    assert not source[0]["wave"][RATE // 2 :].any()
    assert "soxr HQ" in source.notes[0]
    for i, hertz in enumerate([880, 880, 220, 220]):  # the pitch is kept through formats and rates
        heard = np.fft.rfft(source[i]["wave"][: RATE // 2])
        assert abs(np.argmax(np.abs(heard)) * 2 - hertz) <= 2
    assert source.fingerprint() == AudioFolder(sounds).fingerprint() != AudioFolder(sounds, rate=8000).fingerprint()


def test_a_stretch_is_that_of_the_whole_recording_resampled(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100 * 2)
    path = written(tmp_path / "a.wav", noise, 44_100, subtype="FLOAT")
    whole = soxr.resample(noise.astype(np.float32), 44_100, 8000, quality="HQ")
    part = decode.stretch_at(path, Wanted(8000, 4000), 4410)[:, 0]  # a place where both rates have a sample
    np.testing.assert_allclose(part, whole[4410:8410], atol=2e-4)
    np.testing.assert_array_equal(decode.stretch(path, Wanted(8000, 16_000), 0.7)[:, 0], whole[:16_000])


def test_windows_are_drawn_by_index_or_cover_the_file(sounds):
    drawn, every = AudioFolder(sounds, seconds=0.5, windows=3), AudioFolder(sounds, seconds=0.5, windows=None)
    assert len(drawn) == 12
    np.testing.assert_array_equal(drawn[4]["wave"], AudioFolder(sounds, seconds=0.5, windows=3)[4]["wave"])
    assert np.abs(drawn[3]["wave"] - drawn[4]["wave"]).max() > 0.1
    assert drawn.name_of(4) == "high/b.flac #1"
    assert every.starts.tolist()[:4] == [0, 1, 5, 7]
    assert every.values("label").tolist()[:7] == [0, 0, 0, 0, 0, 1, 1]
    joined = np.concatenate([every[i]["wave"] for i in range(1, 5)])
    np.testing.assert_array_equal(joined, soundfile.read(sounds / "high/b.flac", dtype="float32")[0])


def no_number(path):
    wave = tone().astype(np.float32)
    wave[100] = np.nan
    written(path, wave, subtype="FLOAT")


def lying(path):
    """A header that promises 16,000 samples of a flac that is cut."""
    data = written(path.with_suffix(".flac"), np.random.default_rng(0).normal(0, 0.1, RATE)).read_bytes()
    path.with_suffix(".flac").unlink()
    path.write_bytes(data[: len(data) // 3])


BAD = {
    "no sample": (lambda path: written(path, np.zeros((0, 1))), "0 samples"),
    "one sample": (lambda path: written(path, np.ones((1, 1))), "1 samples"),
    "NaN": (no_number, "NaN"),
    "header that lies": (lying, "decoded|ends after"),
    "text": (lambda path: path.write_text("this is no sound, whatever it is called\n" * 20), "no recording"),
    "empty": (lambda path: path.write_bytes(b""), "no recording"),
}
ODD = {
    "8 bits": {"subtype": "PCM_U8"},
    "24 bits": {"subtype": "PCM_24"},
    "float64": {"subtype": "DOUBLE"},
    "96 kHz": {"rate": 96_000},
    "12 channels": {"channels": 12},
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_a_file_that_is_none_is_a_bad_record(tmp_path, make, said):
    make(tmp_path / "a_bad.wav")
    written(tmp_path / "good.wav", tone())
    source = AudioFolder(tmp_path)
    with pytest.raises((ValueError, OSError), match=said):
        source[0]
    records = BadRecords(limit_fraction=0.6)
    assert records.read(source, 0)[0] == 1
    assert records.entries[0].name == "a_bad.wav"


@pytest.mark.parametrize("made", ODD.values(), ids=ODD)
def test_odd_files_sound_as_others_do(tmp_path, made):
    rate = made.get("rate", RATE)
    wave = tone(1.0, rate, channels=made.get("channels", 1))
    options = {k: v for k, v in made.items() if k == "subtype"}
    written(tmp_path / "a.wav", wave, rate, **options)
    np.testing.assert_allclose(AudioFolder(tmp_path)[0]["wave"][1000:-1000], tone()[1000:-1000, 0], atol=0.01)


def test_channels_are_kept_where_all_have_as_many(tmp_path):
    written(tmp_path / "a.wav", tone(channels=2))
    written(tmp_path / "b.wav", tone())
    source = AudioFolder(tmp_path, channels=2)
    assert source[0]["wave"].shape == (RATE, 2)
    with pytest.raises(ValueError, match="1 channels, and 2 are asked for"):
        source[1]


def test_a_table_gives_labels_by_name(sounds):
    table = sounds / "list.csv"
    table.write_text("path,kind,take\nlow/c.ogg,drum,2\nhigh/a.wav,bell,1\nhigh/b.flac,,3\n")
    source = AudioList(table, label="kind", columns=("take",))
    assert source.classes == ("bell", "drum")
    assert source.values("label").tolist() == [1, 0, -1]
    assert {k: int(source[0][k]) for k in ("label", "take")} == {"label": 1, "take": 2}


TABLES = {
    "path,kind\na.wav,x,y\n": "line 2 has 3 fields, and the first names 2",
    "file,kind\na.wav,x\n": "needs a column path",
    "path,sort\na.wav,x\n": "no column 'kind'; it has path, sort",
}


@pytest.mark.parametrize(("text", "said"), TABLES.items())
def test_a_table_that_is_none_is_refused(tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        AudioList(tmp_path / "list.csv", label="kind")


def test_refusals_name_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no recordings \(.wav"):
        AudioFolder(tmp_path)
    with pytest.raises(UserError, match="at least 1000"):
        AudioFolder(tmp_path, rate=10)
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(UserError, match=r"pip install ssl_jax\[audio\]"):
        AudioFolder(tmp_path)


def test_parts_by_group_share_no_speaker(tmp_path):
    for speaker in range(12):
        for take in range(3):
            written(tmp_path / f"speaker{speaker}/{take}.wav", tone(0.01))
    source = AudioFolder(tmp_path)
    parts = [NamedPart(source, *ends, group="^([^/]+)/") for ends in ((0.0, 0.6), (0.6, 1.0))]
    speakers = [{part.name_of(i).split("/")[0] for i in range(len(part))} for part in parts]
    assert not speakers[0] & speakers[1]
    assert len(speakers[0] | speakers[1]) == 12
    assert f"{len(speakers[0])} of 12 groups, {3 * len(speakers[0])} of 36 records" in parts[0].notes[-1]
    with pytest.raises(UserError, match="is not found in"):
        NamedPart(source, 0.0, 0.5, group="singer")


def test_a_folder_of_recordings_is_learnt_from_by_a_recipe_for_audio(sounds):
    said: list[str] = []
    made = learning_from(str(sounds), plain(load("simclr_conv_drums")), [], said.append)["data"]
    found = options_of(made["pretrain"])
    assert (found["root"], found["seconds"], found["rate"]) == (str(sounds), 0.7, 16_000)
    assert any("is taken as audio:" in line for line in said)
    with pytest.raises(UserError, match=r"holds recordings.*--config simclr_conv_speech"):
        pictures_in(str(sounds))


def test_generated_sounds_are_functions_of_their_number_and_say_how_they_were_made():
    source = GeneratedAudio("probe", count=40)
    records = [source[i] for i in range(40)]
    np.testing.assert_array_equal(records[7]["wave"], GeneratedAudio("probe", count=400)[7]["wave"])
    assert source.example()["wave"].shape == records[0]["wave"].shape
    for record in records:
        assert record["label"] == 4 * record["timbre"] + record["envelope"]
        assert not record["wave"][~record["valid"]].any()
    pure = next(r for r in records if r["timbre"] == 0 and r["glide"] == 1 and r["envelope"] == 2)
    heard = np.abs(np.fft.rfft(pure["wave"])).argmax()  # hertz: a record is a second
    assert abs(heard - 110 * 2 ** pure["pitch"]) <= 2
