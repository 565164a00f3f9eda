import subprocess
import sys

import torch

from condgen.bench.memory import peak_of


def test_the_peak_is_that_of_the_work_alone():
    """In a process of its own: what others have freed there may serve again, and is no peak."""
    script = """
import torch
from condgen.bench.memory import forget_peak, high_water
held = torch.ones(2**24)  # 64 MB of before
before = forget_peak()
big = torch.ones(3 * 2**22, dtype=torch.float64)  # 96 MB
del big
print((high_water() - before) / 2**20)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 80 < float(found.stdout) < 120


def test_the_peak_of_work_leaves_out_what_is_held_before():
    held = torch.ones(2**24)  # 64 MB

    def work():
        return torch.ones(3 * 2**22, dtype=torch.float64).sum()  # 96 MB

    assert 80 < peak_of(work, held.device) / 2**20 < 120


def test_memory_that_was_used_before_counts_again():
    def work():
        return [torch.ones(2**14) for _ in range(1500)]  # 96 MB in pieces that a program keeps when they are freed

    peak_of(work, torch.device("cpu"))
    assert 80 < peak_of(work, torch.device("cpu")) / 2**20 < 120
