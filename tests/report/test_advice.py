"""What to use follows from the figures: ties go to the cheapest, and a tie is called one."""

import pytest

from condgen.report.advice import advise


def rows(**methods):
    """Class accuracy and Fréchet distance of methods, each (value, half width)."""
    out = []
    for method, figures in methods.items():
        for metric, (value, half) in zip(("class accuracy", "FD@360", "class-wise recall"), figures, strict=False):
            ends = {} if half is None else {"low": value - half, "high": value + half}
            out.append({"method": method, "metric": metric, "value": value, "n": 360} | ends)
    return out


def cost(**evaluations):
    return [{"method": method, "evaluations_per_image": value} for method, value in evaluations.items()]


BEST = ((0.99, 0.01), (0.3, 0.1))
GOOD = ((0.98, 0.01), (0.4, 0.1))
POOR = ((0.70, 0.01), (0.3, 0.1))
FAR = ((0.99, 0.01), (2.0, 0.1))


def test_the_cheapest_of_those_that_lead():
    text = advise(rows(slow=BEST, quick=GOOD, far=FAR, poor=POOR), cost(slow=20, quick=1, far=1, poor=1))
    assert text.startswith("Use quick: no other method is clearly better in class accuracy (0.980 ± 0.010) or FD@360")
    assert "It takes 1 network evaluation a sample; slow, neither clearly better nor clearly worse, takes 20." in text
    assert "far" not in text
    assert "poor" not in text


def test_one_that_leads_alone():
    text = advise(rows(best=BEST, far=FAR, poor=POOR), cost(best=20, far=1, poor=1))
    assert text.startswith(
        "Use best: no other method comes up to it in class accuracy (0.990 ± 0.010) and FD@360 (0.30"
    )
    assert text.endswith("together.")


def test_a_tie_at_one_price_is_called_a_tie():
    text = advise(rows(b=BEST, a=GOOD, poor=POOR), cost(a=20, b=20, poor=1))
    assert text.startswith("Use b or a: no other method is clearly better, and these cannot be told apart (b: class")
    assert advise(rows(b=BEST, a=GOOD)).startswith("Use b or a")  # nothing is known of their cost


def test_a_tie_of_many_is_a_list():
    text = advise(rows(**dict.fromkeys("abcd", BEST), poor=POOR))
    assert text == "Use any of 4 methods, which these figures cannot tell apart: a, b, c and d."


def test_where_nobody_leads_in_both():
    text = advise(rows(right=((0.99, 0.01), (2.0, 0.1)), near=((0.7, 0.01), (0.3, 0.1))))
    assert text == (
        "No method leads in both: use right for the highest class accuracy (0.990 ± 0.010), or near for the lowest "
        "FD@360 (0.30 ± 0.10)."
    )


def test_more_variety_is_told_where_it_is_clear():
    one, two = (*BEST, (0.7, 0.01)), (*BEST, (0.9, 0.01))
    assert "variety within a class is worth it: dear 0.900 ± 0.010 in class-wise recall, against its 0.700" in advise(
        rows(cheap=one, dear=two), cost(cheap=1, dear=9)
    )
    assert "variety" not in advise(rows(cheap=two, dear=one), cost(cheap=1, dear=9))


def test_distances_within_classes_come_before_those_over_all():
    found = rows(a=BEST, b=BEST)
    found += [row | {"metric": "class-wise FD"} for row in found if row["metric"] == "FD@360"]
    found[-1] |= {"value": 9.0, "low": 8.9, "high": 9.1}  # of b
    assert advise(found).startswith(
        "Use a: no other method comes up to it in class accuracy (0.990 ± 0.010) and class-w"
    )


@pytest.mark.parametrize("left", [{}, {"one": BEST}, {"real (held out)": BEST, "one": BEST}])
def test_without_rivals_there_is_nothing_to_advise(left):
    assert advise(rows(**left)) == ""


def test_nobody_is_sent_to_a_collapsed_generator():
    found = rows(collapsed=BEST, a=GOOD, b=POOR)
    assert advise(found, cost(collapsed=1, a=20, b=20), {"collapsed"}).startswith("Use a")


def test_values_without_intervals_are_ranked_as_they_are():
    exact = {"a": ((0.9, None), (0.3, None)), "b": ((0.9, None), (0.4, None))}
    assert advise(rows(**exact)).startswith("Use a: no other method comes up to it")


@pytest.mark.parametrize(("share", "warned"), [(0.1, True), (0.5, False)])
def test_a_leader_that_remembers_is_not_praised_without_a_warning(share, warned):
    found = rows(a=BEST, b=POOR)
    for method, value in (("a", share), ("b", 0.5), ("real (held out)", 0.55)):
        ends = {"low": value - 0.05, "high": value + 0.05}
        found.append({"method": method, "metric": "authenticity", "value": value} | ends)
    text = advise(found)
    assert text.startswith("Use a")
    assert ("nearest neighbours first: it lies closer to the training data than new data do" in text) == warned
