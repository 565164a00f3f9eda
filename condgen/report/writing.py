"""A page as three files: HTML, and the same as Markdown and JSON beside it.

The HTML is one file: no script, no font, no picture is fetched from anywhere, and a content security policy in its head
forbids it to. Names that users chose are escaped wherever they appear.
"""

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from condgen.files import write_atomically
from condgen.report.markdown import page_to_markdown
from condgen.report.page import Page
from condgen.runs.layout import REPORT, REPORT_DATA, REPORT_TEXT

__all__ = ["write_page"]


def write_page(folder: Path, page: Page, facts: Mapping[str, object]) -> Path:
    """Writes `report.html`, `report.md` and `report.json`, each whole or not at all.

    Args:
        folder: where to.
        page: what to say.
        facts: the figures behind it, for JSON; those that JSON cannot hold (NaN) become null.

    Returns:
        The path of the page.
    """
    json_text = json.dumps(_finite(dict(facts)), indent=1, ensure_ascii=False) + "\n"
    texts = {REPORT_DATA: json_text, REPORT_TEXT: page_to_markdown(page), REPORT: _as_html(page)}
    for name, text in texts.items():
        write_atomically(folder / name, text.encode(errors="replace"))
    return folder / REPORT


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_html(page: Page) -> str:
    environment = Environment(
        loader=FunctionLoader(lambda name: files("condgen.report").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2").render(page=page)
