"""The order of the house: a file may import only from lines above its own."""

import ast
from pathlib import Path

import pytest

import condgen

ROOT = Path(condgen.__file__).parent
LINES = """
errors
files
settings
rows
schedules
rng
heads
denoiser
oracle
data
networks
checkpoint
hub
model
score classifier generator
losses
guidance
samplers
training
metrics
diagnostics
api
recipes
runs
report
export
studio
cli
__main__
"""
LEVEL = {module: level for level, line in enumerate(LINES.split("\n")) for module in line.split()}


def imported(source: str) -> set[str]:
    """The modules of condgen that a source imports anywhere, by the first name after `condgen.`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import by the full name, condgen.…"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("condgen.")} - {"__version__"}


@pytest.mark.parametrize(
    "path", sorted({*ROOT.rglob("*.py")} - {ROOT / "__init__.py"}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_point_upwards(path):
    module = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert module in LEVEL, f"{module} has no line in the order of the house"
    below = {name for name in imported(path.read_text()) - {module} if LEVEL[name] >= LEVEL[module]}
    assert not below, f"{module} imports {below}, which stand on its own line or below"


def test_no_module_that_some_systems_lack_is_imported():
    nodes = (node for path in ROOT.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert not names & {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios", "winreg"}
