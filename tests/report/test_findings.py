"""Sentences that the figures force."""

import pytest

from condgen.report import findings
from condgen.report.estimates import Estimate
from condgen.report.findings import closest_in_words, mean_log_ratio


def metric(method, name, value, half=0.01, floor=None):
    row = {"method": method, "metric": name, "value": value, "low": value - half, "high": value + half}
    return row | {"n": 360, "features": "pixels", "floor": floor, "floor_n": 360, "seed": 0}


def error(method, sigma, mean):
    row = {"method": method, "sigma": sigma, "weighting": "data", "quantity": "D_L"}
    return row | {"mean": mean, "sd": 0.01, "n": 100}


def said(metrics=(), errors=(), cost=()):
    return " ".join(findings(metrics, errors, cost))


def test_the_leader_is_named_and_a_tie_is_called_one():
    rows = [metric("ce", "class accuracy", 0.8), metric("dlsm", "class accuracy", 0.9)]
    assert "Class accuracy is highest with dlsm: 0.900 ± 0.010, clearly ahead of ce" in said(rows)
    rows = [metric("ce", "FD@360", 2.0, 0.5), metric("dlsm", "FD@360", 1.9, 0.5)]
    assert "FD@360 is lowest with dlsm: 1.90 ± 0.50, not clearly apart from ce" in said(rows)


def test_losses_of_dlsm_are_said_as_plainly_as_wins():
    metrics = [metric("ce", "recall", 0.9), metric("dlsm", "recall", 0.7)]
    metrics += [metric("ce", "precision", 0.7), metric("dlsm", "precision", 0.9)]
    errors = [error("zero guidance", s, 1.0) for s in (1, 2)]
    errors += [error("ce", 1, 0.5), error("dlsm", 1, 0.4), error("ce", 2, 0.5), error("dlsm", 2, 0.8)]
    text = said(metrics, errors)
    assert "clearly better in precision" in text
    assert "clearly worse in recall" in text
    assert "clearly lower at 1 of 2 noise levels; clearly higher at σ = 2" in text


def test_worse_than_no_guidance_is_said():
    errors = [error("zero guidance", 1, 1.0), error("ce", 1, 2.0), error("dlsm", 1, 0.5)]
    assert "dlsm 50%; ce 200% (worse than no guidance at all)" in said(errors=errors)


def test_where_the_best_method_is_least_and_most_wrong():
    errors = [error("zero guidance", s, 1.0) for s in (0.5, 1, 2)]
    errors += [error("ce", s, v) for s, v in ((0.5, 0.6), (1, 1.25), (2, 0.25))]
    assert "With ce it is best at σ = 2 (25%) and worst at σ = 1 (125%)" in said(errors=errors)


def test_many_metrics_of_one_verdict_are_counted():
    names = ("recall", "precision", "density", "coverage", "class-wise recall")
    rows = [metric(m, name, 0.9) for name in names for m in ("ce", "dlsm")]
    assert "not clearly different in 5 metrics, recall and precision among them" in said(rows)


def test_closer_than_real_images_is_called_memory():
    text = said([metric("ce", "FD@360", 0.3, floor=0.4), metric("dlsm", "FD@360", 0.5, floor=0.4)])
    assert "By FD@360, ce lies closer to the training data than held-out real data do" in text
    assert "memory" not in said([metric("ce", "FD@360", 0.5, floor=0.4), metric("dlsm", "FD@360", 0.6, floor=0.4)])


def test_ratios_leave_out_levels_where_nothing_is_to_be_known():
    reference = {0.1: Estimate(1e-9), 1.0: Estimate(1.0), 10.0: Estimate(0.1)}
    found = {0.1: Estimate(1.0), 1.0: Estimate(0.5), 10.0: Estimate(0.2)}
    ratio, levels = mean_log_ratio(found, reference)
    assert (ratio, levels) == (pytest.approx(1.0), 2)  # the geometric mean of 1/2 and 2


@pytest.mark.parametrize(("value", "words"), [(0.40, "clearly lower for dlsm 0.400"), (0.55, "No method lies clearly")])
def test_authenticity_is_held_against_that_of_real_data(value, words):
    rows = [metric("ce", "authenticity", 0.6, 0.05), metric("dlsm", "authenticity", value, 0.05)]
    rows.append(metric("real (held out)", "authenticity", 0.58, 0.05))
    text = said([*rows, metric("ce", "FD@360", 0.3, floor=0.4), metric("dlsm", "FD@360", 0.5, floor=0.4)])
    assert words in text
    assert "ce lies closer" not in text  # the surer figure speaks


def test_kernel_distances_do_not_repeat_what_frechet_distances_say():
    rows = [metric(m, name, v) for m, v in (("a", 0.9), ("b", 0.5)) for name in ("KD", "FD@36", "class-wise FD@36")]
    text = said(rows)
    assert "FD@36 is lowest with b" in text
    assert "Class-wise FD@36 is lowest with b" in text
    assert "KD is" not in text


def posterior(method, *means):
    return [error(method, 2.0**i, mean) | {"quantity": "D_P"} for i, mean in enumerate(means)]


def test_without_metrics_the_scores_decide():
    rows = posterior("zero guidance", 1.0, 1.0) + posterior("ce", 0.5, 0.5) + posterior("dlsm", 0.4, 0.1)
    text = closest_in_words(rows)
    assert text.startswith(
        "Use dlsm: its score given the class (D_P) is closest to the exact one, with 20% of the error"
    )
    assert "geometric mean over 2 noise levels); ce comes next with 50%" in text
    near = closest_in_words(rows + posterior("dlsm x1", 0.4, 0.101))
    assert near.startswith("Use dlsm or dlsm x1: the scores given the class (D_P) are closest")
    worse = posterior("zero guidance", 1.0, 1.0) + posterior("ce", 2.0, 2.0) + posterior("dlsm", 3.0, 3.0)
    assert closest_in_words(worse).startswith("Use none of the methods")
    assert closest_in_words(rows[:4]) == ""
    assert closest_in_words([]) == ""
