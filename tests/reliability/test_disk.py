"""Disks that are full, fail, or may not be written: what was saved is whole, the error helps, and mending is enough.

A disk is a small file system in memory, which takes a Linux that lets users mount inside a namespace of their own; the
tests run themselves again within one. Every kind of work: `uv run pytest -m slow tests/reliability/test_disk.py`.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
from functools import partial

import pytest
from reliability.commands import jobs, run, train_score
from reliability.faults import fail_at
from reliability.test_kills import undisturbed

from condgen.checkpoint import load_tensors
from condgen.errors import UserError
from condgen.runs.folder import read_json, read_rows

ENTER = ("unshare", "--user", "--map-root-user", "--mount")
INSIDE = "CONDGEN_TEST_NAMESPACE"
ROOM = 64 * 2**20
WAYS = ("full", "read-only", "failing fsync", "failing rename")


def can_mount():
    return shutil.which(ENTER[0]) is not None and subprocess.run([*ENTER, "true"], capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="needs Linux whose users may mount in a namespace")


def damaged(folder):
    """The files of a run folder that cannot be read."""
    readers, found = {".safetensors": load_tensors, ".json": read_json, ".jsonl": read_rows}, []
    for path in sorted(folder.rglob("*")):
        try:
            if path.suffix in readers:
                readers[path.suffix](path)
        except (UserError, OSError):
            found.append(path)
    return found


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_failing_call_damages_nothing(call, number, tmp_path):
    folder = tmp_path / "score"
    error = run(*train_score(), "--out", folder, prepare=partial(fail_at, call, number, errno.EIO)).error
    assert str(tmp_path) in error
    assert damaged(folder) == []
    run(*train_score(), "--out", folder).check()


def remounted(place, option):
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


def fail_and_mend(arguments, folder, way, whole, needed, chance):
    """Runs a command on a disk that fails, and again when it is mended."""
    place = folder.parent
    size = f"size={int(needed * chance.uniform(0.05, 0.9)) if way == 'full' else ROOM}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=True)
    try:
        prepare = None
        if way == "read-only":
            run(*arguments, "--out", folder, prepare=partial(fail_at, "replace", chance.randrange(4), errno.EIO))
            remounted(place, "ro")
        elif way != "full":
            call, code = ("fsync", errno.EIO) if way == "failing fsync" else ("replace", errno.EDQUOT)
            prepare = partial(fail_at, call, chance.randrange(4), code)
        error = run(*arguments, "--out", folder, prepare=prepare).error
        assert str(place) in error
        assert ("bytes needed" in error) == (way != "read-only"), error
        assert damaged(folder) == []
        remounted(place, {"full": f"size={ROOM}", "read-only": "rw"}.get(way, "rw"))
        run(*arguments, "--out", folder).check()
        assert whole.is_left_in(folder), way
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
@needs_mounts
def test_every_kind_of_work_survives_every_failure(tmp_path):
    if not os.environ.get(INSIDE):  # the test runs itself again, in a namespace of its own
        test = f"{__file__}::test_every_kind_of_work_survives_every_failure"
        command = [*ENTER, sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", test]
        done = subprocess.run(command, env=os.environ | {INSIDE: "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        return
    models, place = tmp_path / "models", tmp_path / "disk"
    for folder in (models, place):
        folder.mkdir()
    for kind, arguments in jobs(models).items():
        chance = random.Random(kind)
        whole = undisturbed(arguments, models / kind)
        needed = sum(path.stat().st_size for path in (models / kind).rglob("*") if path.is_file())
        for way in WAYS:
            fail_and_mend(arguments, place / kind, way, whole, needed, chance)  # a report says the folder's name
