"""Writes what `condgen VERB --help` shows, after a change of commands or settings: python tests/cli/help_pages.py"""

import importlib
import inspect
import json
from pathlib import Path
from typing import get_args

import condgen
from condgen.cli.app import VERBS, load_verb

FILE = Path(condgen.__file__).with_name("cli") / "help.json"
WORDS = {int: "integer", float: "number", str: "text", Path: "path"}


def pages():
    """By verb, the text and the parameters: names, kind, default and meaning."""
    found = {}
    for verb, (module, *_) in VERBS.items():
        function = getattr(importlib.import_module(f"condgen.cli.{module}"), verb.replace("-", "_"))
        types, rows = inspect.signature(function).parameters, []
        for each in load_verb(verb).params:
            is_option = each.opts[0].startswith("-")
            word = next((WORDS[part] for part in parts(types[each.name].annotation)), None) if is_option else each.name
            kind = (
                (each.metavar or word) if is_option or each.nargs == 1 else (each.metavar or word).rstrip(".") + " ..."
            )
            default = "required" if each.required else each.default
            names = ["/".join([*each.opts, *each.secondary_opts])] if each.secondary_opts else each.opts
            kind = f"{kind} >= {each.min}" if getattr(each, "min", None) is not None else kind
            rows.append([names, kind, default if isinstance(default, bool | None) else str(default), each.help])
        found[verb] = {"help": inspect.getdoc(function), "parameters": rows}
    return found


def parts(annotation):
    """The types in an annotation that have a word."""
    return [one for one in (annotation, *(p for a in get_args(annotation) for p in parts(a))) if one in WORDS]


if __name__ == "__main__":
    FILE.write_text(json.dumps(pages(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
