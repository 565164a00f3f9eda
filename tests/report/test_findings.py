"""Sentences that the figures force: of those that none beats the cheapest comes first."""

import pytest
from report.run_folders import metric

from condgen.metrics import REAL
from condgen.report.build import findings
from condgen.report.load import CostRow, GeneratorLog, PreviewRow, Run

BEST, GOOD, POOR, FAR = (0.99, 0.3), (0.98, 0.4), (0.70, 0.3), (0.99, 2.0)  # class accuracy, Fréchet distance


def rows(half=(0.01, 0.1), **methods):
    names = ("class accuracy", "FD@360")
    return [
        metric(m, name, value, h)
        for m, values in methods.items()
        for name, value, h in zip(names, values, half, strict=True)
    ]


def said(metrics=(), generators=(), **evaluations):
    cost = [CostRow(method=method, evaluations_per_image=value) for method, value in evaluations.items()]
    run = Run(folder=None, name="r", metrics=list(metrics), cost=cost, generators=dict(generators))
    return " ".join(findings(run))


def test_those_that_none_beats_with_the_cheapest_first():
    assert said(rows(slow=BEST, quick=GOOD, far=FAR, poor=POOR), slow=20, quick=1, far=1, poor=1) == (
        "Use quick (evaluations a sample: 1) or slow (evaluations a sample: 20): in class accuracy and FD@360 none is "
        "better by more than the intervals."
    )
    assert said(rows(best=BEST, far=FAR, poor=POOR)).startswith("Use best (evaluations a sample: —): in")
    assert said(rows(right=FAR, near=POOR)) == ""


def test_distances_within_classes_come_before_those_over_all():
    found = [*rows(a=BEST, b=BEST), metric("a", "class-wise FD", 0.3, 0.01), metric("b", "class-wise FD", 9.0, 0.01)]
    assert said(found).startswith("Use a (evaluations a sample: —): in class accuracy and class-wise FD none")


@pytest.mark.parametrize("left", [{}, {"one": BEST}, {REAL: BEST, "one": BEST}])
def test_without_rivals_or_intervals_there_is_nothing_to_advise(left):
    assert said(rows(**left)) == ""
    assert said(rows((None, None), a=BEST, b=POOR)) == ""


@pytest.mark.parametrize(("share", "closer"), [(0.1, True), (0.5, False)])
def test_samples_closer_to_training_data_than_new_data(share, closer):
    found = [metric(m, "authenticity", v, 0.05) for m, v in (("a", share), ("b", 0.5), (REAL, 0.55))]
    assert ("a 0.100 ± 0.050 authentic samples" in said(found)) == closer


@pytest.mark.parametrize(("spread", "warned"), [(0.1, True), (0.8, False)])
def test_a_collapsed_generator_is_named(spread, warned):
    last = PreviewRow(step=9, std_ratio=spread, recall=0.4, accuracy=0.99, n=1000)
    text = said((), {"g": GeneratorLog(None, [last])})
    assert text.startswith("Beware of g: the generator has collapsed") == warned
