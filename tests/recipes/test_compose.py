import pytest

from condgen.errors import UserError
from condgen.recipes.compose import compose, load_recipe, merged, parse_yaml, to_yaml
from condgen.settings import Settings

SCORE = """
name: small
data: {kind: digits}
schedule: {kind: edm}
score: {network: {kind: mlp, width: 16}, training: {steps: 10}}
sizes:
  long: {score: {training: {steps: 1000}}}
  wide: {score: {network: {width: 64}}}
"""
CLASSIFIER = """
include: score.yaml
classifiers: {ce: {network: {kind: mlp}, objective: {loss: ce}, training: {steps: 5}}}
sizes:
  long: {classifiers: {ce: {training: {steps: 500}}}}
"""
GUIDED = """
include: [classifier.yaml]
score: {training: {batch: 7}}
sample: {per_class: 2, methods: {guided: {classifier: ce}}}
"""
ALL = """
include: [guided.yaml, classifier.yaml]
schedule: {kind: ve}
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in {"score": SCORE, "classifier": CLASSIFIER, "guided": GUIDED, "all": ALL}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_a_mapping_goes_over_another_key_by_key_unless_they_are_of_different_kinds():
    below = {"a": {"kind": "x", "p": 1, "q": [1, 2]}, "b": 1}
    assert merged(below, {"a": {"q": [3]}, "c": None}) == {"a": {"kind": "x", "p": 1, "q": [3]}, "b": 1, "c": None}
    assert merged(below, {"a": {"kind": "x", "r": 0}})["a"] == {"kind": "x", "p": 1, "q": [1, 2], "r": 0}
    assert merged(below, {"a": {"kind": "y", "r": 0}})["a"] == {"kind": "y", "r": 0}
    assert below == {"a": {"kind": "x", "p": 1, "q": [1, 2]}, "b": 1}


def test_a_recipe_is_what_it_includes_with_its_own_settings_on_top(folder):
    recipe = load_recipe(folder / "all.yaml", size="long")
    assert (recipe.name, recipe.schedule.kind) == ("small-long", "ve")
    assert (recipe.score.training.steps, recipe.score.training.batch) == (1000, 7)
    assert recipe.classifiers["ce"].training.steps == 500
    assert recipe.sample is not None
    assert load_recipe(folder / "all.yaml", ["score.training.steps=3"], "long").score.training.steps == 3


def test_a_file_that_is_included_twice_counts_once(folder):
    """Else classifier.yaml, named last, would bring score.yaml's settings back over those of guided.yaml."""
    (folder / "guided.yaml").write_text(GUIDED + "seed: 5\n")
    (folder / "score.yaml").write_text("seed: 1\n" + SCORE)
    assert load_recipe(folder / "all.yaml", size="wide").seed == 5


def test_a_size_must_be_one_of_those_there_are(folder):
    for size, message in ((None, "several sizes"), ("lang", "no size 'lang'")):
        with pytest.raises(UserError, match=f"{message}: choose one with --size long, --size wide"):
            compose(folder / "all.yaml", size)
    (folder / "one.yaml").write_text("name: one\n")
    with pytest.raises(UserError, match="no size 'small': leave --size out"):
        compose(folder / "one.yaml", "small")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: [loop.yaml]", "includes itself"),
        ("include: [all.yaml, other.yaml]", "no recipe at .*other.yaml"),
        ("include: {a: b}", "include is a list of files"),
        ("include: [3]", "include is a list of files"),
        ("sizes: [small]", "sizes are names with settings"),
        ("sizes: {small: 3}", "sizes are names with settings"),
    ],
)
def test_what_cannot_be_put_together_is_said_in_one_line(folder, text, message):
    (folder / "loop.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        compose(folder / "loop.yaml", "long")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("1e3", 1000.0),
        ("2e-4", 2e-4),
        ("1_000", 1000),
        ("0x10", 16),
        ("1:30", "1:30"),
        ("2026-11-29", "2026-11-29"),
        ("no", "no"),
        ("[-.5, .inf, true, null]", [-0.5, float("inf"), True, None]),
    ],
)
def test_scalars_are_read_as_people_mean_them(text, value):
    found = parse_yaml(text, "here")
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [("steps: 5\nlr: 1\nsteps: 7\n", (1, 3)), ("a: {b: 1,\n c: [{d: 1, d: 2}]}", (2, 2)), ("<<: {}\n<<: {}", (1, 2))],
)
def test_a_key_that_stands_twice_is_an_error_with_both_lines(text, lines):
    with pytest.raises(UserError, match="stands on line {} and on line {}".format(*lines)):
        parse_yaml(text, "here")


class Texts(Settings):
    texts: tuple[str, ...]


def test_texts_that_look_like_something_else_survive_a_file():
    texts = Texts(texts=("1e3", "010", "08", "1:30", "no", "0o7", "1_0", "null", "2026-11-29", "1.5", "", "<<"))
    assert Texts.model_validate(parse_yaml(to_yaml(texts), "here")) == texts
