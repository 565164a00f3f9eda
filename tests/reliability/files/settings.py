"""Settings that others wrote: recipes, recipes of many files, what a page asks for, names on a command line."""

import json
from pathlib import Path
from random import Random
from typing import Any

import yaml

from condgen.data import class_index, parse_data
from condgen.hub import repository_of
from condgen.recipes import apply_overrides, content_key, load_recipe, to_yaml
from condgen.recipes.compose import compose, sizes_of
from condgen.studio.ask import Limits, command_line, parse_ask, stage_of
from condgen.studio.models import Offer
from reliability.files.mutate import NAMES, hostile_json, hostile_text, hostile_tree, value
from reliability.files.pictures import PLACES
from reliability.files.valid import recipe_of

__all__ = ["make_includes", "make_recipe", "make_words", "read_includes", "read_recipe", "read_words"]


def _as_text(tree: Any) -> str:
    """YAML in one of two dresses: blocks, or JSON, which is YAML too."""
    try:
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError, ValueError):
        return json.dumps(tree)


def _write_recipe(chance: Random, path: Path, tree: Any) -> None:
    text = json.dumps(tree, indent=1) if chance.random() < 0.3 else _as_text(tree)
    content = hostile_text(chance, text) if chance.random() < 0.3 else text.encode(errors="surrogatepass")
    path.write_bytes(content)


def make_recipe(chance: Random, valid: Path, case: Path) -> None:
    """One file."""
    tree = recipe_of(chance)
    if chance.random() < 0.85:
        tree = hostile_tree(chance, tree)
    path = case / "in" / "recipe.yaml"
    _write_recipe(chance, path, tree)
    if chance.random() < 0.01:
        path.unlink()
        chance.choice(list(PLACES.values()))(path, case / "outside")


def read_recipe(chance: Random, case: Path) -> None:
    """As `condgen run` does, with an override now and then, and written out again as the run's own."""
    overrides = []
    if chance.random() < 0.15:
        key = chance.choice(("score.training.steps", "data", "name", "seed", "a.b.c", "", "score", ".", "score..x"))
        overrides = [f"{key}={value(chance)!s}"[:5000]]
    path = case / "in" / "recipe.yaml"
    recipe = load_recipe(path, overrides)
    content_key(recipe)
    (case / "out" / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    assert load_recipe(case / "out" / "recipe.yaml") == recipe


def make_includes(chance: Random, valid: Path, case: Path) -> None:
    """A few files that take each other in, some in sizes."""
    tree = recipe_of(chance)
    keys = list(tree)
    chance.shuffle(keys)
    parts = chance.choice((2, 3, 5))
    folder = case / "in"
    names = [f"{number}.yaml" for number in range(parts)]
    for number, name in enumerate(names):
        own: dict[str, Any] = {key: tree[key] for key in keys[number::parts]}
        if number == 0:
            own["include"] = names[1:]
        elif chance.random() < 0.2:
            own["include"] = chance.choice((names, names[0], [*names[:1], "../outside/secret.txt"], value(chance)))
        if chance.random() < 0.4:
            own["sizes"] = {"small": {"score": {"training": {"steps": 3}}}, "large": {"seed": 4}}
        if chance.random() < 0.4:
            own = hostile_tree(chance, own)
        _write_recipe(chance, folder / name, own) if chance.random() < 0.5 else (folder / name).write_text(
            _as_text(own)
        )
    if chance.random() < 0.05:
        place = folder / chance.choice(names[1:])
        place.unlink()
        chance.choice(list(PLACES.values()))(place, case / "outside")
    if chance.random() < 0.01:
        for number in range(1500):  # a chain
            (folder / f"link-{number}.yaml").write_text(f"include: link-{number + 1}.yaml\n")
        (folder / names[0]).write_text("include: link-0.yaml\n")


def read_includes(chance: Random, case: Path) -> None:
    """In each of its sizes."""
    path = case / "in" / "0.yaml"
    size = next(iter(sizes_of(path)), None)
    compose(path, size)
    load_recipe(path, size=size)


# ----------------------------------------------------------------------------------------------------


def make_words(chance: Random, valid: Path, case: Path) -> None:
    """A request to the studio."""
    method = {"sampler": "heun", "steps": 5, "options": {"order": 2}, "classifier": "ce", "scale": 2.0}
    ask = {
        "label": 1,
        "per_class": 2,
        "seed": 3,
        "method": {key: method[key] for key in method if chance.random() < 0.5},
    }
    (case / "in" / "ask.json").write_bytes(hostile_json(chance, ask))


def read_words(chance: Random, case: Path) -> None:
    """What a page and a command line hand over, up to what would be drawn."""
    names = tuple(chance.sample(NAMES, 3))
    folder = case / "in"
    offer = Offer("x", folder, names, (2,), folder, classifiers={"ce": folder}, labels={"score": "none"})
    if chance.random() < 0.7:
        ask = parse_ask((folder / "ask.json").read_bytes())
        _, models = stage_of(ask, offer, Limits())
        command_line(ask, offer, models)
        return
    word = chance.choice((*NAMES, str(value(chance))[:2000]))
    match chance.randrange(4):
        case 0:
            class_index(names, word)
        case 1:
            parse_data(word)
        case 2:
            repository_of(f"hf:{word}")
        case _:
            apply_overrides(recipe_of(chance), [word, f"{word}={word}"])
