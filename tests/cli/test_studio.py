"""The command: what it refuses, where it listens, how it ends."""

import builtins
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.cli.conftest import bad

pytest.importorskip("uvicorn", reason="the studio is missing: pip install 'condgen[studio]'")


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.partition(".")[0] in ("starlette", "uvicorn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'condgen[studio]'" in bad("studio", tmp_path)


def test_a_folder_that_is_no_run_and_a_port_in_use_are_told(digits_of_few_steps, tmp_path):
    assert "holds no trained" in bad("studio", tmp_path, "--no-open")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = f"port {port}: Address already in use"
        assert message in bad("studio", digits_of_few_steps, "--port", port, "--no-open")


def test_it_listens_at_a_free_port_answers_and_ends_at_ctrl_c(digits_of_few_steps):
    command = [sys.executable, "-m", "condgen", "studio", str(digits_of_few_steps), "--no-open"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with socket.socket() as taken, subprocess.Popen(command, **pipes, env=os.environ | {"COLUMNS": "200"}) as process:
        try:
            taken.bind(("127.0.0.1", 7860))
            taken.listen()
        except OSError:
            pass  # by somebody else, which is as good
        try:
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                    break
            assert int(found[1]) != 7860
            with urllib.request.urlopen(f"{found[0]}offer.json", timeout=120) as answer:
                assert b"snapshot-3" in answer.read()
            body = b'{"method": {"sampler": "annealed-langevin", "nfe": 1990}, "per_class": 200}'
            request = urllib.request.Request(f"{found[0]}draw", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                assert b"done" in answer.readline()
                process.send_signal(signal.SIGINT)  # in the middle of a drawing
                assert process.wait(30) == 0
            assert "the studio has ended" in process.stdout.read()
        finally:
            process.kill()
