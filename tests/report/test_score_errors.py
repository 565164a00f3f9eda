"""Plots of score errors and of likelihood-score fields show what the rows say."""

from PIL import Image
from report.run_folders import error

from condgen.diagnostics.held_out import HeldOutRow
from condgen.report.figures import to_svg
from condgen.report.load import Run, read_run
from condgen.report.page import Figure
from condgen.report.score_errors import (
    draw_held_out,
    errors_section,
    fields_section,
    held_out_section,
    held_out_sentences,
    held_out_tables,
)


def drawn(*rows):
    """The figure and the tables of errors of the likelihood score."""
    return list(errors_section(Run(None, "r", errors=[error(*row) for row in rows])))[-1]


def test_errors_have_a_line_a_method_and_words():
    (panel,) = drawn(("ce", 1, 0.5), ("ce", 2, 0.25), ("dlsm", 1, 0.4), ("dlsm", 2, 0.1)).panels
    assert panel.alt == ("D_L: likelihood score, mean error, at noise level σ 1 to 2: ce 0.5 to 0.25; dlsm 0.4 to 0.1.")
    svg = to_svg(panel, "p")
    assert all(style.colour in svg for style in panel.legend.values())


def test_zero_errors_have_no_place_on_a_logarithmic_axis():
    assert "0.25 to 0.5" in drawn(("ce", 1, 0.0), ("ce", 2, 0.25), ("ce", 4, 0.5)).panels[0].alt
    assert not drawn(("ce", 1, 0.0), ("ce", 2, 0.0)).panels


def test_fields_have_a_panel_a_class_and_method(moons_run):
    _, upper, lower = fields_section(read_run(moons_run))
    assert (upper.title, lower.title) == ("Class upper", "Class lower")
    assert [panel.title for panel in upper.panels] == ["exact", "dlsm", "error of dlsm"]
    assert lower.panels[0].alt.startswith("Likelihood score of class lower, exact: mean length")
    assert "opacity: 0.55" in to_svg(upper.panels[0], "p")  # data
    assert "opacity: 0.55" not in to_svg(upper.panels[2], "p")


LEVELS = (0.1, 1.0, 4.0)


def row(method, sigma, mean, se=1e-5, reference="ce", **more):
    about = {"quantity": "held_out_difference", "method": method, "reference": reference, "sigma": sigma}
    return HeldOutRow(**about, mean=mean, se=se, n_images=360, draws=4, **more)


ROWS = [
    *(row(method, sigma, -4e-4 * sigma, reference="zero guidance") for sigma in LEVELS for method in ("ce", "dlsm")),
    *(row("dlsm", sigma, mean) for sigma, mean in zip(LEVELS, (2.9e-5, -3.1e-5, -1e-3), strict=True)),
]


def run(rows=ROWS, **training):
    what = {"pairs": [["dlsm", "ce"]], "training": training}
    return Run(folder=None, name="r", held_out=rows, conditions={"diagnostics.json": what})


def test_tables_have_units_and_intervals_and_zero_guidance_comes_after_other_references():
    classifier, zero = held_out_tables(ROWS)
    assert "minus that of ce, 1e-3" in classifier.title
    assert classifier.header == ("", "dlsm")
    assert classifier.texts == [["σ = 0.1", "0.029 ± 0.020"], ["σ = 1", "-0.031 ± 0.020"], ["σ = 4", "-1.000 ± 0.020"]]
    assert zero.header == ("", "ce", "dlsm")
    (means,) = held_out_tables([row("dlsm", 1.0, -2e-3, low=-3e-3, high=-1e-3, seeds=3)])
    assert means.texts == [["σ = 1", "-2.0 ± 1.0"]]
    assert "standard deviation over 3 seeds" in means.caption


def test_a_sentence_counts_what_is_beyond_three_standard_errors_and_says_what_training_took():
    rows = [*ROWS, row("dlsm", 8.0, -2.9e-5)]
    (sentence,) = held_out_sentences(run(rows, ce={"steps": 2400, "seconds": 20}, dlsm={"steps": 800, "seconds": 60.4}))
    assert "On 360 held-out samples, the posterior score of dlsm is nearer to the truth than that of ce" in sentence
    assert "at 2 of 4 noise levels (by more than 3 standard errors), farther at 0." in sentence
    assert sentence.endswith("Training: dlsm 800 steps, 60 s; ce 2,400 steps, 20 s.")


def test_nothing_is_said_of_a_training_or_a_method_that_is_not_known():
    (sentence,) = held_out_sentences(run(ce={"steps": None, "seconds": 2}, dlsm={"steps": 800, "seconds": 60.0}))
    assert sentence.endswith("farther at 0.")
    assert not held_out_sentences(run([]))


def test_differences_of_either_sign_are_drawn(tmp_path):
    (figure,) = (block for block in held_out_section(run()) if isinstance(block, Figure))
    against, over_zero = figure.panels
    assert against.title == "minus ce"
    assert "dlsm 0.029 to -1" in against.alt
    assert to_svg(over_zero, "p")
    assert draw_held_out(ROWS, tmp_path / "h.png")
    with Image.open(tmp_path / "h.png") as picture:
        assert picture.width > picture.height
    assert not draw_held_out([ROWS[0]], tmp_path / "none.png")
