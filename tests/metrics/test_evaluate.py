"""The table of metrics: its values, its conditions, and what it refuses."""

import json
import math
import re

import pytest
import torch
from finish import finish
from libraries import library
from scipy.stats import binomtest

from condgen import LabelledSet, UserError
from condgen.data.sets import Digits, Moons, load
from condgen.metrics.evaluate import Measures, evaluating
from condgen.metrics.features import Extractor, Features, Store, pixels
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.judge import Judge
from condgen.metrics.measures import METRICS as METRIC_TABLE, REAL, SEEN_AS
from condgen.metrics.neighbours import prdc
from condgen.rng import keyed_generator

TRAIN, TEST = load(Digits(), "train"), load(Digits(), "test")
OVERLAPS = ["precision", "recall", "density", "coverage"]
CLASSWISE = [f"class-wise {name}" for name in ["FD@36", "KD", *OVERLAPS]]
VARIETY = ["in-class std ratio"]
BY_CLASS = ("class-wise FD", "class-wise KD", "in-class std ratio")
METRICS = ["class accuracy", "FD@360", "held-out FD@360", "KD", *OVERLAPS, *CLASSWISE, *VARIETY, "authenticity"]


def evaluate(methods, train, test, seed, measures=None, store=None):
    store = store or Store(pixels(train.shape), None)
    return finish(evaluating(methods, train, test, seed, measures or Measures(), store))[0]


def noisy(data, std, key=0):
    return data.floats() + std * torch.randn(data.x.shape, generator=keyed_generator(key))


@pytest.fixture(scope="module")
def table():
    centres = torch.stack([TRAIN.floats()[TRAIN.y == label].mean(0) for label in range(10)])
    methods = {
        "copies": (TEST.floats(), TEST.y),
        "noisy": (noisy(TEST, 0.3), TEST.y),
        "wrong labels": (TEST.floats(), (TEST.y + 1) % 10),
        "class means": (centres[TEST.y], TEST.y),
        "few": (TEST.floats()[:100], TEST.y[:100]),
        "double": (torch.cat([noisy(TEST, 0.1), noisy(TEST, 0.1, key=1)]), torch.cat([TEST.y, TEST.y])),
    }
    first = torch.stack([(TEST.y == label).nonzero()[:3, 0] for label in range(10)])
    chosen = {"three": first.flatten(), "singles": first[:, 0], "seven": (TEST.y < 7).nonzero()[:, 0]}
    methods |= {name: (TEST.floats(rows), TEST.y[rows]) for name, rows in chosen.items()}
    methods |= {"pairs": (TEST.floats(first[:, 0]), torch.arange(10) // 2)}
    methods |= {"ones": (TEST.floats()[TEST.y == 1], TEST.y[TEST.y == 1])}
    return evaluate(methods, TRAIN, TEST, seed=3).rows


def of(table, method):
    return {row.metric.split("@")[0]: row for row in table if row.method == method}


def value(table, method, metric):
    (row,) = [row for row in table if (row.method, row.metric) == (method, metric)]
    return row


def test_every_method_and_the_held_out_samples_have_every_metric(table):
    assert [row.metric for row in table if row.method == "copies"] == [*METRICS, "CAS (probe)"]
    assert [row.metric for row in table if row.method == REAL] == [*METRICS, "CAS (probe)"]
    methods = list(dict.fromkeys(row.method for row in table))
    assert (methods[0], methods[-1], len(methods)) == ("copies", REAL, 12)


def test_rows_carry_their_conditions(table):
    row = value(table, "noisy", "FD@360")
    assert (row.n, row.features, row.reference, row.floor_n, row.seed) == (360, "pixels", "digits train (1295)", 360, 3)
    accuracy = value(table, "noisy", "class accuracy")
    assert accuracy.features == f"SVC on pixels (held-out accuracy {accuracy.floor:.3f})"
    assert json.loads(json.dumps(row.as_dict(), allow_nan=False)) == row.as_dict()


def test_held_out_samples_lie_on_the_floor_and_copies_of_them_too(table):
    for metric in METRICS:
        real, copies = value(table, REAL, metric), value(table, "copies", metric)
        assert real.value == real.floor == copies.floor
        same = 0 if metric == "held-out FD@360" else real.value  # from themselves
        assert copies.value == pytest.approx(same, rel=1e-9, abs=1e-9)


def test_memory_pleases_the_distance_from_the_train_split_and_not_that_from_the_test_split(table):
    rows = evaluate({"memory": (TRAIN.floats(), TRAIN.y)}, TRAIN, TEST, 0, Measures(cas="none")).rows
    of_train, held_out = (value(rows, "memory", f"{name}@{len(TRAIN)}") for name in ("FD", "held-out FD"))
    assert of_train.value == pytest.approx(0, abs=1e-9)
    assert held_out.reference == "digits test (360)"
    means = [data.floats().flatten(1).double() for data in (TRAIN, TEST)]
    by_hand = frechet_distance(*(Gaussian.fit(vectors) for vectors in means))
    assert held_out.value == pytest.approx(by_hand, rel=1e-9)
    floor = value(table, "noisy", "held-out FD@360").floor
    assert 0 < by_hand < floor  # as many as there are lie nearer than 360 of them


def test_every_value_lies_in_its_interval(table):
    for row in table:
        assert row.low - 1e-12 <= row.value <= row.high + 1e-12, row


def test_faults_show_where_they_should(table):
    noise = {metric: value(table, "noisy", metric) for metric in METRICS}
    for metric in ("FD@360", "in-class std ratio"):
        assert noise[metric].value > noise[metric].floor, metric
    for metric in ("precision", "density", "coverage"):
        assert noise[metric].value < noise[metric].floor, metric
    assert value(table, "wrong labels", "class accuracy").high < 0.05
    assert value(table, "wrong labels", "FD@360").value == pytest.approx(value(table, REAL, "FD@360").value)
    means = {metric: value(table, "class means", metric).value for metric in METRICS}
    assert means["class accuracy"] > 0.99
    assert means["precision"] == 1
    assert means["recall"] == 0
    assert means["in-class std ratio"] == 0


def test_class_wise_figures_are_the_packages_averaged_over_classes(table):
    x, found = noisy(TEST, 0.3), []
    for label in range(10):
        real, fake = (v.flatten(1).double().numpy() for v in (TRAIN.floats()[TRAIN.y == label], x[TEST.y == label]))
        found.append(library("prdc").compute_prdc(real, fake, nearest_k=5))
    for name in OVERLAPS:
        row = value(table, "noisy", f"class-wise {name}")
        assert row.value == pytest.approx(sum(one[name] for one in found) / 10, abs=1e-12), name
        assert row.reference == "digits train (1295), class by class, k = 5"
    distances = [
        frechet_distance(*(Gaussian.fit(v.flatten(1)) for v in (x[TEST.y == c], TRAIN.floats()[TRAIN.y == c])))
        for c in range(10)
    ]
    assert value(table, "noisy", "class-wise FD@36").value == pytest.approx(sum(distances) / 10, rel=1e-9)


def test_wrong_classes_show_class_by_class_alone(table):
    for name in OVERLAPS:
        assert value(table, "wrong labels", name).value == pytest.approx(value(table, REAL, name).value)
        wrong, real = (value(table, method, f"class-wise {name}") for method in ("wrong labels", REAL))
        assert wrong.high < 0.2 * real.low


def test_confusions_are_shares_of_each_class_by_the_class_that_is_seen():
    wrong = torch.where(TEST.y == 3, 5, TEST.y)  # asked for a five, a three is drawn now and then
    found = evaluate({"wrong": (TEST.floats(), wrong)}, TRAIN, TEST, seed=3)
    rows = [row for row in found.by_class if row["metric"].startswith(SEEN_AS) and row["method"] == "wrong"]
    shares = {(row["class"], row["metric"].removeprefix(SEEN_AS)): row["value"] for row in rows}
    for label in {label for label, _ in shares}:
        assert sum(value for (asked, _), value in shares.items() if asked == label) == pytest.approx(1)
    threes = int((TEST.y == 3).sum()) / int((wrong == 5).sum())
    assert shares[5, "3"] == pytest.approx(threes, abs=0.05)
    right = sum(value * int((wrong == label).sum()) for (label, seen), value in shares.items() if seen == str(label))
    (accuracy,) = (row.value for row in found.rows if (row.method, row.metric) == ("wrong", "class accuracy"))
    assert right / len(wrong) == pytest.approx(accuracy)


def test_few_samples_a_class_lower_the_neighbour_and_say_so(table):
    rows = of(table, "three")
    assert rows["class-wise recall"].reference.endswith("k = 2")
    assert rows["recall"].reference == "digits train (1295)"
    expected = []
    for label in range(10):
        real, fake = (data.floats()[data.y == label].flatten(1) for data in (TRAIN, TEST))
        expected.append(float(prdc(real, fake[:3], k=2).recall.mean()))
    assert rows["class-wise recall"].value == pytest.approx(sum(expected) / 10)


def test_fewer_samples_have_a_floor_of_as_few(table):
    row, whole = value(table, "few", "FD@100"), value(table, REAL, "FD@360")
    assert (row.n, row.floor_n) == (100, 100)
    assert row.floor > 1.2 * whole.floor  # the bias of the distance grows as n falls
    assert value(table, "few", "class accuracy").floor_n == 360


def test_more_samples_than_the_test_split_say_so(table):
    *rows, cas = (row for row in table if row.method == "double")
    assert {(row.n, row.floor_n) for row in rows} == {(720, 360)}
    assert (cas.metric, cas.floor_n) == ("CAS (probe)", 720)  # there are as many real ones to learn from
    assert rows[1].metric == "FD@720"


def test_proportions_have_wilson_intervals(table):
    row = value(table, "noisy", "precision")
    wilson = binomtest(round(row.value * 360), 360).proportion_ci(0.95, method="wilson")
    assert (row.low, row.high) == pytest.approx((wilson.low, wilson.high), abs=1e-4)


def test_intervals_cover_as_stated():
    # The spread of the distance over fresh draws is what its interval claims.
    train, test = (load(Moons(n=2000, noise=0.1), split) for split in ("train", "test"))
    draws = {}
    for seed in range(12):
        fresh = load(Moons(n=2000, noise=0.1, seed=100 + seed), "train")
        draws[str(seed)] = (fresh.floats()[:200], fresh.y[:200])
    rows = [row for row in evaluate(draws, train, test, 0, Measures(cas="none")).rows if row.n == 200]
    for metric in ("FD@200", "in-class std ratio"):
        chosen = [row for row in rows if row.metric == metric]
        actual = torch.tensor([row.value for row in chosen]).std().item()
        claimed = sum(row.high - row.low for row in chosen) / len(chosen) / 2 / 1.96
        assert 0.4 < claimed / actual < 2.5, metric


def test_the_same_seed_gives_the_same_table_and_no_method_sees_another(table):
    alone = evaluate({"noisy": (noisy(TEST, 0.3), TEST.y)}, TRAIN, TEST, seed=3).rows
    assert [row for row in alone if row.method == "noisy"] == [row for row in table if row.method == "noisy"]
    other = evaluate({"few": (TEST.floats()[:100], TEST.y[:100])}, TRAIN, TEST, seed=4).rows
    assert other[1].value == value(table, "few", "FD@100").value
    assert other[1].floor != value(table, "few", "FD@100").floor


def test_no_class_twice_means_no_ratio_rather_than_a_number(table):
    assert not {"in-class std ratio", "class-wise FD", *CLASSWISE} & of(table, "singles").keys()
    row = of(table, "pairs")["in-class std ratio"]
    assert math.isfinite(row.value + row.low + row.high)
    assert row.floor is None  # ten samples in proportion are one of each class


def test_faulty_samples_are_refused_by_name():
    x, y = TEST.floats(), TEST.y
    broken = x.clone()
    broken[3, 0, 0, 0], broken[5] = torch.nan, torch.inf
    cases = [
        ((broken, y), r"steep: 2 of 360 samples hold NaN or infinite values"),
        ((x[:, :, :4], y), r"steep: samples of shape \(1, 4, 8\) cannot be compared with digits"),
        ((x[:5], y[:5]), r"steep: 5 samples are too few; provide at least 6"),
    ]
    for samples, message in cases:
        with pytest.raises(UserError, match=message):
            evaluate({"steep": samples}, TRAIN, TEST, seed=0)


def test_splits_of_other_classes_are_refused():
    with pytest.raises(UserError, match="name the classes alike"):
        evaluate({}, TRAIN, LabelledSet(TEST.x, TEST.y, tuple("abcdefghij"), "letters", "test"), seed=0)


def test_copies_of_training_data_are_told_from_new_real_ones(table):
    found = evaluate({"memory": (TRAIN.floats()[:300], TRAIN.y[:300])}, TRAIN, TEST, seed=0)
    rows = {row.metric: row for row in found.rows if row.method == "memory"}
    assert rows["authenticity"].value == 0
    assert rows["authenticity"].floor > 0.4
    places, remembered = found.memories["memory"]
    assert torch.equal(remembered.indices[:, 0], places)
    places, remembered = found.memories[REAL]
    exact = torch.cdist(TEST.floats()[places].flatten(1).double(), TRAIN.floats().flatten(1).double())
    assert torch.allclose(remembered.distances[:, 0], exact.min(1).values)
    assert value(table, "noisy", "authenticity").value > 0.9


def test_what_samples_teach(table):
    assert value(table, "wrong labels", "CAS (probe)").high < 0.1
    assert value(table, "class means", "CAS (probe)").value < value(table, "class means", "CAS (probe)").floor
    row = value(table, "few", "CAS (probe)")
    assert (row.n, row.floor_n, row.reference, row.features) == (100, 100, "digits test (360)", "SVC on pixels")
    real = evaluate({}, TRAIN, TEST.at_most(100, keyed_generator(0)), seed=3).rows
    assert re.fullmatch(r"digits test \(100\), 3 draws, sd 0\.\d+", value(real, REAL, "CAS (probe)").reference)
    assert row.high - row.low > 0.01  # the interval is that of 360 verdicts
    real = value(table, REAL, "CAS (probe)")
    assert real.value == real.floor == value(table, "noisy", "CAS (probe)").floor
    assert 0.95 < real.value < 1  # of 360 training images, where all 1,295 teach .994


def test_samples_of_one_class_teach_nothing_and_no_row_is_invented(table):
    assert "CAS (probe)" not in of(table, "ones")
    rows = evaluate({"all": (TEST.floats(), TEST.y)}, TRAIN, TEST, 0, Measures(cas="none")).rows
    assert not [row for row in rows if row.metric.startswith("CAS")]


def test_figures_by_class_average_to_their_row():
    found = evaluate({"noisy": (noisy(TEST, 0.3), TEST.y)}, TRAIN, TEST, seed=3)
    for metric in (*BY_CLASS, "class-wise precision"):
        each = [row["value"] for row in found.by_class if (row["metric"], row["method"]) == (metric, "noisy")]
        (row,) = [row for row in found.rows if row.method == "noisy" and row.metric.split("@")[0] == metric]
        assert len(each) == 10
        assert sum(each) / 10 == pytest.approx(row.value, rel=1e-9)


def extractor(inception, n_logits=4):
    def function(x):
        return Features(x.flatten(1)[:, 20:30], x.flatten(1)[:, 30 : 30 + n_logits])

    return Extractor("network", function, inception=inception)


@pytest.mark.parametrize("inception", [True, False])
def test_names_of_papers_are_for_inception_features_and_enough_samples(inception, monkeypatch):
    assert METRIC_TABLE["FD"].least == 10_000
    monkeypatch.setitem(METRIC_TABLE, "FD", METRIC_TABLE["FD"]._replace(least=720))
    many = (TEST.floats().repeat(2, 1, 1, 1), TEST.y.repeat(2))
    store = Store(extractor(inception), None)
    few = (TEST.floats(), TEST.y)
    rows = evaluate({"many": many, "few": few}, TRAIN, TEST, 0, Measures(most=200, cas="none"), store).rows
    names = {method: {row.metric for row in rows if row.method == method} for method in ("many", "few")}
    kernel, score = ("KID", "IS") if inception else ("KD", "classifier score")
    assert {("FID" if inception else "FD") + "@720", kernel, score + "@720"} <= names["many"]
    assert {"FD@360", kernel, score + "@360"} <= names["few"]
    if not inception:
        assert not [name for name in names["many"] | names["few"] if re.match("FID|KID|IS", name)]
    (floor,) = {row.floor for row in rows if row.method == "many" and row.metric.startswith("F")}
    assert floor == next(row.value for row in rows if row.method == REAL and row.metric == "FD@360")


def test_figures_of_fewer_samples_say_of_how_many(monkeypatch):
    monkeypatch.setattr(Judge, "most", 500)
    rows = of(evaluate({"all": (TEST.floats(), TEST.y)}, TRAIN, TEST, 0, Measures(most=120)).rows, "all")
    for metric in ("KD", *OVERLAPS, "authenticity"):
        assert (rows[metric].n, rows[metric].floor_n) == (120, 120), metric
    for metric in ("FD", "class accuracy", "class-wise FD", "in-class std ratio", "CAS (probe)"):
        assert rows[metric].n == 360, metric
    assert rows["precision"].reference == "digits train (120 of 1295)"
    assert rows["class accuracy"].features.startswith("SVC on pixels, 500 training samples (held-out accuracy 0.9")


def test_classes_that_were_left_out_are_counted(table):
    rows = of(table, "seven")
    for metric in (*BY_CLASS, "class-wise recall"):
        assert "class by class, 7 of 10 classes" in rows[metric].reference, metric


def test_a_few_samples_of_a_rare_class_teach_nothing_rather_than_fail():
    rare = torch.cat(((TRAIN.y == 0).nonzero()[:, 0], (TRAIN.y == 1).nonzero()[:1, 0]))
    few = LabelledSet(TRAIN.x[rare], TRAIN.y[rare], TRAIN.names, "rare", "train")
    y = torch.arange(8) % 2
    rows = evaluate({"eight": (TEST.floats(torch.arange(8)), y)}, few, TEST, seed=1).rows
    row = next(row for row in rows if (row.method, row.metric) == ("eight", "CAS (probe)"))
    assert row.floor is None or 0 <= row.floor <= 1


def test_intervals_where_samples_are_fewer_than_features():
    """To first order and no more: within a factor of two of the spread over fresh draws."""
    data = [torch.randn(40, 300, generator=keyed_generator(i)) for i in range(20)]
    real = torch.randn(600, 300, generator=keyed_generator(999))
    labels = torch.arange(600) % 2
    points = LabelledSet(real, labels, ("a", "b"), "normal", "train")
    held_out = LabelledSet(real[:50], labels[:50], ("a", "b"), "normal", "test")
    methods = {str(i): (x, torch.arange(40) % 2) for i, x in enumerate(data)}
    rows = evaluate(methods, points, held_out, 0, Measures(cas="none")).rows
    for metric in ("FD@40", "class-wise FD@20"):
        chosen = [row for row in rows if row.metric == metric and row.method != REAL]
        actual = torch.tensor([row.value for row in chosen]).std().item()
        claimed = sum(row.high - row.low for row in chosen) / len(chosen) / 2 / 1.96
        assert 0.5 < claimed / actual < 2, (metric, claimed, actual)
