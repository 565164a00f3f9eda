"""Valid content made hostile: values, trees of settings, text and bytes. All chance comes from the `Random` given."""

import copy
import json
import math
from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

__all__ = ["NAMES", "hostile_bytes", "hostile_json", "hostile_lines", "hostile_text", "hostile_tree", "value"]

Tree: TypeAlias = Any
"""What JSON or YAML can say."""

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "a|b`c`*d*",
    "two\nlines",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe",
    "half \ud800 of a pair",
    "nul \0 inside",
    "../../outside/secret.txt",
    "/etc/passwd",
    "/dev/zero",
    ".",
    "..",
    "",
    " ",
    "é" * 200,
    "x" * 5000,
    "hf:owner/name",
    "__class__",
    "$(touch canary)",
    "%s%n%x",
)
_NUMBERS = (
    0, -1, 1, 2, 3, 255, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63), 10**6, 10**9, 10**12, 10**18, -(10**18),
    10**400, 0.5, -0.5, 1e-320, 1e-30, 1e30, 1e308, math.inf, -math.inf, math.nan, True, False,
)  # fmt: skip
_OTHERS: tuple[Tree, ...] = (
    None,
    [],
    {},
    [[]],
    [None],
    [1, "two", 3.0],
    {"kind": "unknown"},
    {"kind": "mlp", "width": 10**9},
    {"": {"": {}}},
    {"__proto__": {"x": 1}},
    "nan",
    "1e999",
    "0x7f",
    "2001-99-99",
    "calibrated",
    "unlabelled",
    "embedding",
    "separate",
)
_MANY = 3000
_TOKENS = (
    "[" * 20_000, "{" * 20_000, '{"a":' * 5000, "- " * 5000, "&a [*a, *a]", "*nothing", "<<: *a", "<<: 3",
    "!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system", "!!binary '////'",
    "!!timestamp '2001-99-99'", "!!int '0b'", "!!float 'x'", "!!set {a, b}", "!!omap [a: 1]", "? [a, b] : c",
    "9" * 5000, "-", "\t", "\0", "\ufeff", "\r", "%YAML 9.9\n---\n", "---\n", "...\n", "\x85", "\u2028", "1e5000",
    "NaN", "Infinity", '"\\ud800"', "0o777", "190:20:30", "=", "~", "!", "@", "`", ": ", "#", '"', "'", "\\u0000",
)  # fmt: skip
_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{below}'] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def value(chance: Random) -> Tree:
    """A value that few expect."""
    draw = chance.random()
    if draw < 0.4:
        return chance.choice(_NUMBERS)
    if draw < 0.65:
        return chance.choice(NAMES)
    if draw < 0.95:
        return copy.deepcopy(chance.choice(_OTHERS))
    if draw < 0.97:
        return [chance.choice(_NUMBERS)] * _MANY
    return _nested(chance.choice((5, 60, 200)))


def _nested(depth: int) -> Tree:
    tree: Tree = 1
    for level in range(depth):
        tree = [tree] if level % 2 else {"a": tree}
    return tree


def _places(tree: Tree) -> list[tuple[Any, Any]]:
    """Every container and key (or index) within a tree."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


def hostile_tree(chance: Random, tree: Tree, times: int | None = None) -> Tree:
    """A copy of a tree with one to three changes: of a value, its kind or sign, a key, or whole branches."""
    tree = copy.deepcopy(tree)
    for _ in range(times or chance.choice((1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            return value(chance)
        node, key = chance.choice(places)
        chance.choice(_CHANGES)(chance, node, key, places)
    return value(chance) if chance.random() < 0.01 else tree


def _replace(chance: Random, node: Tree, key: Tree, _: list[tuple[Any, Any]]) -> None:
    node[key] = value(chance)


def _bend(chance: Random, node: Tree, key: Tree, _: list[tuple[Any, Any]]) -> None:
    """Something that is almost right."""
    old = node[key]
    if isinstance(old, bool | int | float):
        near = min(max(old, -1e300), 1e300)  # whole numbers may be larger than any other
        factor = chance.choice((-1, 0, 2, 1000, 10**6, 1e-9))
        node[key] = chance.choice((near * factor, str(near), [old], old + 1, float(near), not old))
    elif isinstance(old, str):
        node[key] = chance.choice((old[:-1], old + old, old.upper(), [old], old + chance.choice(NAMES)))
    elif isinstance(old, list):
        node[key] = chance.choice(
            (old[:-1], old + old, old[::-1], {"0": old}, [old], old * (200 if len(old) < 100 else 2))
        )
    else:
        node[key] = [old]


def _drop(_: Random, node: Tree, key: Tree, places: list[tuple[Any, Any]]) -> None:
    del node[key]


def _rename(chance: Random, node: Tree, key: Tree, _: list[tuple[Any, Any]]) -> None:
    if isinstance(node, dict):
        node[chance.choice((*NAMES, str(key) + "s", str(key).upper()))] = node.pop(key)


def _add(chance: Random, node: Tree, key: Tree, _: list[tuple[Any, Any]]) -> None:
    if isinstance(node, dict):
        node[chance.choice((*NAMES, "kind", "include", "sizes", "evaluate"))] = value(chance)
    else:
        node.insert(key, value(chance))


def _transplant(chance: Random, node: Tree, key: Tree, places: list[tuple[Any, Any]]) -> None:
    donor, at = chance.choice(places)
    node[key] = copy.deepcopy(donor[at])


_CHANGES: tuple[Callable[[Random, Tree, Tree, list[tuple[Any, Any]]], None], ...] = (
    _replace, _replace, _replace, _bend, _bend, _bend, _drop, _rename, _add, _transplant,
)  # fmt: skip


def hostile_json(chance: Random, tree: Tree) -> bytes:
    """A tree as JSON, hostile in what it says or, more seldom, in how."""
    text = json.dumps(hostile_tree(chance, tree) if chance.random() < 0.9 else tree)
    return hostile_text(chance, text) if chance.random() < 0.25 else text.encode()


def hostile_lines(chance: Random, rows: list[Tree]) -> bytes:
    """The same of a file with a row a line."""
    rows = list(rows)
    for _ in range(chance.choice((1, 1, 2))):
        if rows:
            at = chance.randrange(len(rows))
            rows[at] = hostile_tree(chance, rows[at])
    if chance.random() < 0.1:
        rows = chance.choice((rows * 50, rows[::-1], []))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return hostile_text(chance, text) if chance.random() < 0.25 else text.encode()


def hostile_text(chance: Random, text: str) -> bytes:
    """Text that is cut, spliced with what parsers trip over, of another encoding, or no text."""
    draw = chance.random()
    at = chance.randrange(len(text) + 1)
    if draw < 0.45:
        text = text[:at] + chance.choice(_TOKENS) + text[at:]
    elif draw < 0.55:
        text = text[:at] + text[chance.randrange(len(text) + 1) :]
    elif draw < 0.65:
        text = text[:at]
    elif draw < 0.7:
        return text.encode("utf-16" if chance.random() < 0.5 else "utf-32")
    elif draw < 0.75:
        text = _LAUGHS + text
    elif draw < 0.77:
        text = text * 400
    else:
        return hostile_bytes(chance, text.encode(errors="surrogatepass"))
    return text.encode(errors="surrogatepass")


def hostile_bytes(chance: Random, content: bytes) -> bytes:
    """Bytes with some changed, left out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        at = chance.randrange(len(data))
        match chance.randrange(6):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[at : at + chance.choice((1, 4, 64))]
            case 3:
                data[at:at] = data[max(0, at - chance.choice((1, 8, 200))) : at]
            case 4:
                data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            case _:
                if chance.random() < 0.4:
                    del data[at:]
    return bytes(data)
