"""Sentences that the figures force: ties are called ties, the cheapest of those that lead is advised."""

import pytest
from report.run_folders import error, metric

from condgen.metrics import REAL
from condgen.report.findings import advise, findings, mean_log_ratio
from condgen.report.load import GeneratorLog, Run
from condgen.report.rows import CostRow, PreviewRow
from condgen.rows import Estimate

BEST, GOOD, POOR, FAR = (0.99, 0.3), (0.98, 0.4), (0.70, 0.3), (0.99, 2.0)  # class accuracy, Fréchet distance


def rows(half=(0.01, 0.1), **methods):
    names = ("class accuracy", "FD@360")
    return [
        metric(m, name, value, h)
        for m, values in methods.items()
        for name, value, h in zip(names, values, half, strict=True)
    ]


def cost(**evaluations):
    return [CostRow(method=method, evaluations_per_image=value) for method, value in evaluations.items()]


def said(metrics=(), errors=(), **more):
    return " ".join(findings(Run(folder=None, name="r", metrics=list(metrics), errors=list(errors), **more)))


def test_the_cheapest_of_those_that_lead():
    text = advise(rows(slow=BEST, quick=GOOD, far=FAR, poor=POOR), cost(slow=20, quick=1, far=1, poor=1))
    assert text == (
        "Use quick, which leads in class accuracy (0.980 ± 0.010) and FD@360 (0.40 ± 0.10) with fewer evaluations than "
        "slow."
    )


def test_one_that_leads_alone_ties_and_divided_leads():
    text = advise(rows(best=BEST, far=FAR, poor=POOR), cost(best=20, far=1, poor=1))
    assert text == "Use best, which leads in class accuracy (0.990 ± 0.010) and FD@360 (0.30 ± 0.10)."
    tie = "Use b or a, which class accuracy and FD@360 cannot tell apart."
    assert advise(rows(b=BEST, a=GOOD, poor=POOR), cost(a=20, b=20, poor=1)) == tie
    assert advise(rows(b=BEST, a=GOOD)) == tie  # nothing is known of their cost
    assert advise(rows(right=FAR, near=POOR)) == (
        "No method leads in both: use right for the highest class accuracy, or near for the lowest FD@360."
    )


def test_distances_within_classes_come_before_those_over_all():
    found = [*rows(a=BEST, b=BEST), metric("a", "class-wise FD", 0.3, 0.01), metric("b", "class-wise FD", 9.0, 0.01)]
    assert advise(found).startswith("Use a, which leads in class accuracy (0.990 ± 0.010) and class-wise FD")


@pytest.mark.parametrize("left", [{}, {"one": BEST}, {REAL: BEST, "one": BEST}])
def test_without_rivals_there_is_nothing_to_advise(left):
    assert advise(rows(**left)) == ""


def test_collapsed_generators_are_not_advised_and_values_without_intervals_are_ranked():
    assert advise(rows(collapsed=BEST, a=GOOD, b=POOR), (), {"collapsed"}).startswith("Use a,")
    assert advise(rows((None, None), a=(0.9, 0.3), b=(0.9, 0.4))).startswith("Use a,")


@pytest.mark.parametrize(("share", "closer"), [(0.1, True), (0.5, False)])
def test_samples_closer_to_training_data_than_new_data(share, closer):
    found = [metric(m, "authenticity", v, 0.05) for m, v in (("a", share), ("b", 0.5), (REAL, 0.55))]
    assert ("a 0.100 ± 0.050 authentic samples" in said(found)) == closer


def test_worse_than_no_guidance_is_said():
    errors = [error("zero guidance", 1, 1.0), error("ce", 1, 2.0), error("dlsm", 1, 0.5)]
    assert "dlsm 50%; ce 200% (worse than no guidance)" in said(errors=errors)


def test_ratios_leave_out_levels_where_nothing_is_to_be_known():
    reference = {0.1: Estimate(1e-9), 1.0: Estimate(1.0), 10.0: Estimate(0.1)}
    found = {0.1: Estimate(1.0), 1.0: Estimate(0.5), 10.0: Estimate(0.2)}
    assert mean_log_ratio(found, reference) == (pytest.approx(1.0), 2)  # the geometric mean of 1/2 and 2


@pytest.mark.parametrize(("spread", "warned"), [(0.1, True), (0.8, False)])
def test_a_collapsed_generator_is_named_first(spread, warned):
    last = PreviewRow(step=9, std_ratio=spread, recall=0.4, accuracy=0.99, n=1000)
    text = said(rows(a=BEST, b=POOR), generators={"g": GeneratorLog(None, [last])})
    assert text.startswith("Beware of g: the generator has collapsed") == warned
