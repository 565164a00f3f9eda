"""Training state on disk: one safetensors file, replaced atomically."""

from pathlib import Path

from condgen.checkpoint import load_tensors, save_tensors
from condgen.errors import UserError
from condgen.training.distributed import Processes
from condgen.training.state import State

__all__ = ["STATE_FILE", "load_state", "save_state", "share_state"]

STATE_FILE = Path("state") / "state.safetensors"


def save_state(folder: Path, state: State, key: str) -> None:
    """Saves the state of the run whose content hash is `key`."""
    save_tensors(folder / STATE_FILE, state.tensors(), {"kind": "training state", "step": state.step, "key": key})


def load_state(folder: Path, state: State, key: str) -> bool:
    """Restores the state that was saved under the same key; says whether there was one.

    Raises:
        UserError: where the file is damaged or of another architecture.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return False
    tensors, description = load_tensors(path)
    if description.get("key") != key:
        return False
    try:
        state.load_tensors(tensors, int(description["step"]))
    except (KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit this model ({reason}): delete {path.parent} to train afresh") from error
    return True


def share_state(state: State, processes: Processes) -> None:
    """Gives every process the state of process 0.

    A fresh state too: machines may round differently when they draw the initial weights.
    """
    step, tensors = processes.once(lambda: state.step), processes.share(state.tensors())
    if not processes.is_main:
        state.load_tensors(tensors, step)
