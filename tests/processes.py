import os
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext

from condgen.training.distributed import Processes

ALONE = Processes(cpu=True)


class Rank(Processes):
    """One of several processes, which hears nothing of the others."""

    def __init__(self, rank, count=2):
        self.rank, self.count = rank, count

    def averaging_gradients(self, parameters, weight):
        return nullcontext()

    def average(self, value, weight):
        return value


class Watched(Processes):
    """Keeps the gradients of every update, as averaged over processes."""

    def __init__(self):
        super().__init__(cpu=True)
        self.gradients = []

    @contextmanager
    def averaging_gradients(self, parameters, weight):
        with super().averaging_gradients(parameters, weight):
            yield
        self.gradients.append([None if p.grad is None else p.grad.clone() for p in parameters])


def start(arguments, count):
    """So many Pythons with these arguments, as one job that no launcher looks after."""
    with socket.socket() as probe:  # a free port
        probe.bind(("127.0.0.1", 0))
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": probe.getsockname()[1]}
    job |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": 1}
    job["PYTHONPATH"] = os.pathsep.join(sys.path)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environments = [job | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(count)]
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=os.environ | {name: str(value) for name, value in environment.items()},
            **pipes,
        )
        for environment in environments
    ]


def run(arguments, count):
    """The same, all of which must end well."""
    for process in start(arguments, count):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-2000:]
