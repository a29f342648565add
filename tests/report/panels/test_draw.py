"""Panels of every kind: nothing that is to be seen is left out, off the paper, or told by its colour alone."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.panels import Clips, Pictures, Signals, Texts
from ssl_jax.report.panels import clips, signals, texts
from ssl_jax.report.panels.draw import describe, draw, first_rows, regrouped
from ssl_jax.report.panels.neighbours import neighbours
from ssl_jax.report.panels.paper import LINES, Tag, png

RANDOM = np.random.default_rng(0)
WAVES = np.sin(np.linspace(0, 40, 600)) * RANDOM.random((12, 2, 1))
HIDDEN = np.broadcast_to((np.arange(600) > 200) & (np.arange(600) < 300), (12, 2, 600))
SENTENCE = (("The ", ""), ("quick ", "hidden"), ("brown ", "right"), ("fox", "wrong"), ("", "padding"))

PANELS = {
    "pictures": Pictures(RANDOM.random((12, 2, 8, 8, 1)), ("view 1", "view 2"), "a note"),
    "texts": Texts([[SENTENCE, SENTENCE[::-1]]] * 12, ("input", "guess"), "a note"),
    "signals": Signals(WAVES, ("wave", "masked"), "a note", 16_000.0, "second", HIDDEN),
    "series of 9 channels": Signals(RANDOM.random((12, 2, 30, 9))),
    "clips": Clips(RANDOM.random((12, 2, 5, 6, 6, 3)), ("view 1", "view 2"), "a note"),
}


def pixels(panel, *args, **options):
    return np.asarray(draw(panel, *args, **options))


def has_colour(picture, colour):
    return (picture == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).any()


@pytest.mark.parametrize("kind", PANELS)
def test_any_panel_is_drawn_inside_its_margins_and_described(kind):
    panel = first_rows(PANELS[kind], 3)
    picture = pixels(panel, [[Tag("record 1"), Tag("")]] * 3)
    ink = (picture != 255).any(axis=-1)
    assert ink.any()
    assert not ink[:, :4].any()
    assert not ink[:, -4:].any()
    assert not ink[-4:].any()
    assert picture.tobytes() != pixels(panel, [[Tag("record 2"), Tag("")]] * 3).tobytes()
    assert describe(panel).startswith("3 rows of 2")
    assert all(caption in describe(panel) for caption in panel.captions)


@pytest.mark.parametrize("kind", PANELS)
def test_same_panel_gives_the_same_png_and_a_note_is_on_it(kind):
    panel = first_rows(PANELS[kind], 2)
    first = png(draw(panel))
    assert first == png(draw(panel))
    assert Image.open(io.BytesIO(first)).format == "PNG"
    assert first != png(draw(replace(panel, note="another")))


def test_first_rows_are_those_of_the_whole():
    for panel in PANELS.values():
        assert len(first_rows(panel, 5).rows) == 5
    assert first_rows(PANELS["signals"], 5).hidden.shape == (5, 2, 600)


@pytest.mark.parametrize("kind", PANELS)
def test_a_query_stands_before_its_neighbours_whatever_they_are(kind):
    groups = regrouped(PANELS[kind], 4, ("query", "nearest", "2.", "3."))
    assert (len(groups.rows), len(groups.rows[0])) == (3, 4)
    cell, same = groups.rows[1][2], PANELS[kind].rows[1 * 4 + 2][0]
    assert cell == same if kind == "texts" else np.array_equal(cell, same)
    alike = np.asarray(neighbours(PANELS[kind], 4, np.zeros(12, int), ("a", "b")))
    other = np.asarray(neighbours(PANELS[kind], 4, np.array([0, 1, 0, 0] * 3), ("a", "b")))
    assert not np.array_equal(alike, other)
    if kind != "series of 9 channels":  # whose lines have this colour themselves
        assert not has_colour(alike, LINES[1])
    assert has_colour(other, LINES[1])
    assert neighbours(PANELS[kind], 4).size


# --- texts


def test_marks_are_told_apart_without_colour():
    styles = texts.styles_of(Texts([[(*SENTENCE, ("x", "first segment"), ("y", "second segment"))]]))
    assert list(styles) == ["", "hidden", "right", "wrong", "padding", "first segment", "second segment"]
    signs = [style.sign for mark, style in styles.items() if mark not in ("", "hidden")]
    assert len(set(signs)) == len(signs)
    assert all(signs)
    assert styles["hidden"].ink == styles[""].fill  # white on black


def test_every_letter_of_a_text_is_on_a_line_that_fits():
    pieces = [("a word ", ""), ("Donaudampfschifffahrtsgesellschaft " * 2, "hidden"), ("end", "right")]
    lines = texts.lines_of(texts._words(pieces, texts.KNOWN), 200)
    assert "".join(text for line in lines for text, _ in line) == "".join(text for text, _ in pieces)
    for line in lines:
        *before, (last, style) = line
        assert sum(texts._length(*word) for word in before) + texts._length(last.rstrip(), style) <= 200


def test_a_long_text_ends_in_an_ellipsis_and_line_ends_are_shown():
    assert draw(Texts([[[("word " * 500, "")]]])).height < 500
    assert [text for text, _ in texts._words([("a\nb", "")], texts.KNOWN)] == ["a↵ ", "b"]


def test_a_sign_stands_at_the_end_of_a_piece_or_of_a_run_of_pieces_of_one_segment():
    pieces = [("two words ", "right"), ("one ", "right"), ("A ", "first"), ("B ", "first")]
    styles = texts.styles_of(Texts([[pieces]]))
    signs = [style.sign for _, style in texts._words(pieces, styles)]
    assert signs == ["", "✓", "✓", "", styles["first"].sign]


def test_words_are_set_apart_unless_their_pieces_bring_spaces():
    words = (("the", ""), ("cat", "hidden"), ("sat", ""))
    assert "The first: the [hidden: cat ]sat" in describe(Texts([[words]]))
    assert "The first: sub[hidden: word ]s" in describe(Texts([[(("sub", ""), ("word ", "hidden"), ("s", ""))]]))


def test_the_first_text_is_read_out_with_its_marks():
    assert "The [hidden: quick ][right: brown ][wrong: fox]" in describe(PANELS["texts"])


# --- signals


def test_what_is_hidden_is_hatched_where_it_is():
    panel = Signals(np.zeros((1, 1, 100)), hidden=(np.arange(100) >= 50)[None, None])
    plot, middle = pixels(panel)[20 : 20 + signals.LANE_ALONE, 20 : 20 + signals.WIDTH], signals.WIDTH // 2
    assert has_colour(plot[:, middle:], signals.SHADE)
    assert not has_colour(plot[:, : middle - 2], signals.SHADE)
    assert len(np.unique(plot[4, middle + 2 :], axis=0)) > 2, "lines over the shade, not only a shade"
    assert "hidden (50%)" in describe(panel)


def test_a_spike_between_the_pixels_of_a_long_wave_is_seen():
    wave = np.zeros((1, 1, 100_000))
    wave[0, 0, 33_333] = 1.0
    plot = pixels(Signals(wave))[20 : 20 + signals.LANE_ALONE, 20 : 20 + signals.WIDTH]
    assert (plot[: signals.LANE_ALONE // 3] != 255).any()


@pytest.mark.parametrize(
    "values", [np.full(50, np.nan), np.full(50, 3.0), np.array([1.0]), np.array([0.0, np.inf, 1.0])]
)
def test_odd_signals_are_drawn(values):
    assert pixels(Signals(values[None, None])).size


def test_the_width_is_told_in_the_unit_of_time():
    assert "400 samples in 4 seconds; 2 channels" in describe(
        Signals(np.zeros((1, 1, 400, 2)), rate=100.0, unit="second")
    )
    assert "400 samples." in describe(Signals(np.zeros((1, 1, 400))))


# --- clips


@pytest.mark.parametrize(("length", "columns", "expected"), [(16, 1, 8), (16, 2, 8), (16, 4, 4), (16, 9, 2), (3, 1, 3)])
def test_frames_are_chosen_evenly_with_both_ends(length, columns, expected):
    frames = clips.chosen(length, columns)
    assert len(frames) == expected
    assert (frames[0], frames[-1]) == (0, length - 1)
    assert np.ptp(np.diff(frames)) <= 1


def test_frames_stand_in_the_order_of_time():
    clip = np.linspace(0, 1, 4)[None, None, :, None, None, None] * np.ones((1, 1, 4, 1, 1, 1))
    picture = np.asarray(draw(Clips(clip)).convert("L"))
    assert [picture[50, 20 + 66 * k + 30] for k in range(4)] == [0, 85, 170, 255]
