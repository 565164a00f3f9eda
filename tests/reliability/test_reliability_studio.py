"""The bench of the studio: what it finds of one that does its work, and of one with planted defects."""

import functools
import inspect
import json
import shutil

import pytest

pytest.importorskip("uvicorn", reason="the studio is missing: pip install 'condgen[studio]'")
pytest.importorskip("starlette", reason="the studio is missing: pip install 'condgen[studio]'")

from reliability.hostile import attacks
from reliability.service import studio_rows


def defective():
    """In the studio's process: memory leaks, seeds are not told apart, and some answers are lost or are errors."""
    from condgen.studio import app

    leaked, honest, count = [], app.draw_ask, iter(range(10**9))

    def planted(*arguments):
        number = next(count)
        leaked.append(bytearray(b"x" * 2**20))
        if number % 10 == 9:
            raise RuntimeError("planted")
        return honest(*arguments)

    def told(first, events):
        return lost(honest_told(first, events)) if next(count) % 7 == 6 else honest_told(first, events)

    async def lost(events):
        async for _ in events:
            raise ConnectionError("planted")
            yield b""

    honest_key, honest_told = app.Studio._key, app._told
    app.draw_ask, app._told = planted, told
    app.Studio._key = lambda self, ask: honest_key(self, ask.model_copy(update={"seed": 0}) if ask.label == 3 else ask)


def rows_of(folder, run, requests, plant=None, **how):
    if plant is not None:
        how["plant"] = functools.partial(exec, f"{inspect.getsource(plant)}\n{plant.__name__}()", {})
    folder.mkdir()
    shutil.copytree(run, folder / "run")
    work = studio_rows(folder, requests, 10, 0, **how)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return {row["what"]: row for row in stop.value}


def test_nothing_is_lost_and_nothing_gets_in(tmp_path, digits_of_few_steps):
    rows = rows_of(tmp_path / "sound", digits_of_few_steps, 30)
    value = {what: row["value"] for what, row in rows.items()}
    assert (value["requests"], value["different drawings among them"]) == (30, 30)
    assert (value["lost"], value["failed"], value["wrong"]) == (0, 0, 0)
    assert value["memory, growth"] < 2
    assert value["hostile requests"] > 400
    assert value["hostile requests answered with 4xx"] == value["hostile requests"]
    assert rows["hostile requests answered otherwise"]["variant"] is None
    assert value["hostile requests, the longest"] < 5
    assert value["hostile requests beside which a drawing failed"] == 0
    assert value["drawn as before after all of them"] == 1
    assert value["files opened outside of the run"] == 0, rows["files opened outside of the run"]
    assert value["answers that hold a file's content"] == 0
    assert json.dumps(list(rows.values()))


def test_planted_defects_are_noticed(tmp_path, digits_of_few_steps):
    rows = rows_of(tmp_path / "defective", digits_of_few_steps, 60, defective, hostile=False)
    value = {what: row["value"] for what, row in rows.items()}
    assert value["lost"] > 0
    assert value["failed"] > 0
    assert value["wrong"] > 0
    assert value["memory, growth"] > 2
    assert value["lost"] + value["failed"] + value["wrong"] <= 60


def test_paths_lead_out_of_the_run_in_many_spellings(tmp_path):
    sent = {one.name: one.first for one in attacks(tmp_path / "run")}
    assert len(sent) > 400
    everything = b"\n".join(sent.values())
    for spelling in (b"../", b"%2e%2e%2F", b"%252e", b"..\\", b"%5C", b"%00", b"/etc/passwd", b"\\u0000"):
        assert spelling in everything
