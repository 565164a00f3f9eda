"""The hostile files of test_hostile_files.py, chosen by atheris (libFuzzer) for the code that they reach.

    uv run --with atheris tests/reliability/fuzz.py TARGET RUN -max_total_time=600

TARGET is one of TARGETS there, RUN a finished run on digits, which is copied. Anything but a `UserError` of one line is
a finding.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["condgen", "yaml", "PIL"]):
    from test_hostile_files import hostile_case

if __name__ == "__main__":
    _, target, run, *options = sys.argv
    copy = Path(tempfile.mkdtemp()) / "run"
    shutil.copytree(run, copy)
    case = hostile_case(target, copy, 1)
    atheris.Setup([sys.argv[0], *options], case.hypothesis.fuzz_one_input)
    atheris.Fuzz()
