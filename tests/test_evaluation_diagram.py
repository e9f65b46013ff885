"""The bars of a reliability diagram are the bins' own numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from nrd.evaluation.diagram import draw_bars, read_calibration, write_diagram
from nrd.metrics import reliability
from nrd.spec import SpecError


@pytest.fixture
def predictions(tmp_path):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(10, 0.3), size=500).astype(np.float16)
    labels = np.where(generator.random(500) < 0.5, probabilities.argmax(axis=1), generator.integers(0, 10, 500))
    np.savez_compressed(tmp_path / "predictions.npz", student_test=probabilities, test_labels=labels)
    return tmp_path / "predictions.npz"


def test_bars_are_the_bins(predictions):
    with np.load(predictions) as content:
        bins = reliability(content["student_test"].astype(np.float64), content["test_labels"], 10)
    ax = Figure().subplots()
    draw_bars(ax, **bins)
    filled = bins["count"] > 0
    bars, gaps = ([p for p in ax.patches if p.get_hatch() == hatch] for hatch in (None, "/////"))
    assert filled.sum() == len(bars) == len(gaps)
    for patches, expected in ((bars, bins["accuracy"]), (gaps, bins["confidence"] - bins["accuracy"])):
        heights = {round(p.get_x() / 10): p.get_height() for p in patches}
        np.testing.assert_allclose([heights[k] for k in np.flatnonzero(filled)], 100 * expected[filled], atol=1e-9)


def test_the_picture_is_small_and_the_same_twice(predictions, tmp_path):
    pictures = [write_diagram(predictions, "40 % $wrong", tmp_path / f"{k}.png").read_bytes() for k in range(2)]
    assert pictures[0] == pictures[1] and pictures[0].startswith(b"\x89PNG") and len(pictures[0]) < 60_000


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 broken"])
def test_damaged_predictions_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "predictions.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match="is missing or damaged") as error:
        read_calibration(path)
    assert "\n" not in str(error.value)
