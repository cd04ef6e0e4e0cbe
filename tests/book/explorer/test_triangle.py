import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmer_lib.book.explorer.triangle import Triangle, plane
from mmer_lib.book.figures import MODALITY_COLOURS
from mmer_lib.data import MODALITIES
from mmer_lib.probes.representations import pairwise_cosine
from tests.book.explorer.made import TEXTS, cosines, readings, triangle, vectors, whole

NUMBERS = st.floats(-100, 100, allow_subnormal=False)
POINTS = st.integers(2, 9).flatmap(lambda d: arrays(float, (3, d), elements=NUMBERS))


def close(a, b, scale):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * (1 + scale**2))


@given(POINTS)
def test_the_picture_keeps_every_length_and_angle(h):
    (corners,), (offset,) = plane(h[None])
    parts, scale = h - h.mean(0), np.abs(h).max()
    close(corners @ corners.T, parts @ parts.T, scale)
    rebuilt = whole(corners, offset)
    close(rebuilt @ rebuilt.T, h @ h.T, scale)
    close(offset @ offset, h.mean(0) @ h.mean(0), scale)
    close(corners.sum(0), 0, scale)


@given(POINTS)
def test_text_points_up_and_audio_to_the_right(h):
    (corners,), _ = plane(h[None])
    slack = 1e-9 * (1 + np.abs(h).max())
    assert abs(corners[0, 0]) < slack and corners[0, 1] > -slack and corners[1, 0] > -slack


@given(POINTS, NUMBERS, NUMBERS)
def test_a_moved_corner_stands_for_a_vector_that_could_be(h, a, b):
    """A corner moved in the plane, and the h moved alike in the space, agree in all products."""
    (corners,), (offset,) = plane(h[None])
    parts = h - h.mean(0)
    there, seen = h.copy(), corners.copy()
    there[0] += a * parts[0] + b * parts[1]
    seen[0] += a * corners[0] + b * corners[1]
    rebuilt = whole(seen, offset)
    close(rebuilt @ rebuilt.T, there @ there.T, np.abs(there).max() + np.abs(h).max())
    close(rebuilt[1:] @ rebuilt[1:].T, h[1:] @ h[1:].T, np.abs(h).max())


@given(arrays(float, (3, 2), elements=NUMBERS))
def test_the_mean_cosine_never_leaves_its_band(corners):
    parts = corners - corners.mean(0)
    if np.linalg.norm(parts, axis=1).min() > 1e-6:
        assert -1 / 2 - 1e-9 <= cosines(parts)[3] <= -1 / 3 + 1e-9


def test_utterances_do_not_touch_each_other():
    points = np.stack(list(vectors(5).values()), 1)
    together = plane(points)
    for n in range(5):
        for all_of_them, alone in zip(together, plane(points[n : n + 1]), strict=True):
            np.testing.assert_allclose(all_of_them[n], alone[0], atol=1e-12)


def test_the_data_give_the_cosines_of_trace():
    h = vectors()
    data = triangle().data
    between = pairwise_cosine({m: torch.tensor(v) for m, v in h.items()})
    for n in range(len(TEXTS)):
        shown = readings(whole(data["corners"][n], np.array(data["offsets"][n])))
        assert shown["h"][:3] == pytest.approx([float(c[n]) for c in between.values()], abs=1e-5)
        direct = readings(np.stack([h[m][n] for m in MODALITIES]))
        for name, values in direct.items():
            assert shown[name] == pytest.approx(values, abs=1e-5)


def test_colours_are_those_of_the_figures():
    assert triangle().data["colours"] == [MODALITY_COLOURS[m] for m in MODALITIES]


def test_order_of_the_modalities_does_not_matter():
    h = vectors()
    assert Triangle({m: h[m] for m in reversed(h)}, TEXTS).data == Triangle(h, TEXTS).data


def test_what_does_not_fit_is_refused():
    h = vectors()
    with pytest.raises(ValueError, match="h has text, audio; it needs text, audio, vision"):
        Triangle({m: h[m] for m in ("text", "audio")}, TEXTS)
    with pytest.raises(ValueError, match="3 utterances, 2 labels, 2 notes"):
        Triangle(h, TEXTS[:2])
    with pytest.raises(ValueError, match="3 utterances, 3 labels, 1 notes"):
        Triangle(h, TEXTS, ["one"])
    h["audio"][1, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        Triangle(h, TEXTS)


def test_only_known_utterances_can_be_chosen():
    figure = triangle(chosen=2)
    assert figure.chosen == 2
    with pytest.raises(traitlets.TraitError, match="there are 3 utterances"):
        figure.chosen = 3
    assert figure.chosen == 2


def test_points_that_coincide_are_drawn_as_one():
    h = {m: np.ones((1, 4)) for m in MODALITIES}
    data = Triangle(h, ["same"]).data
    np.testing.assert_allclose(data["corners"], 0, atol=1e-12)
    assert np.linalg.norm(data["offsets"][0]) == pytest.approx(2, abs=1e-5)
