"""Memory that runs out inside a kernel, also on a thread of a team, is an error of the call and not the process's end."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own, whose address space is limited once the arguments are there; what kernels work with is larger.
SCRIPT = """
import resource, sys
import numpy as np, torch
from quant.numerics import Quantized
from serving.engine.native import library
library.INSTRUCTION_SETS = (sys.argv[1],)
from serving.engine.native.caches import Heads
from serving.engine.native.library import DRAWS, WANTED, kernels
from serving.engine.native.linear import PackedLinear
from serving.engine.threads import set_threads

set_threads(2)
code = kernels()
ones = lambda rows, columns: Quantized(torch.ones(rows, columns, dtype=torch.int8), torch.ones(rows, 1))
linear = PackedLinear([ones(64, 4096)], [], 2)
many = 1 << 13
tokens, out = torch.zeros(many, 4096), torch.empty(many, 64)
nothing, normalizers = np.zeros(many, WANTED), torch.empty(many)

heads, length, queries = Heads(2, 16), 1 << 17, 64
memory = torch.zeros(heads.block_bytes(length), dtype=torch.uint8)
blocks = np.array([memory.data_ptr()], np.uint64)
lengths, starts = np.array([length]), np.array([0, queries])
asked, weighed = torch.zeros(queries, 32), torch.empty(queries, 32)

vocabulary = 1 << 22
logits = torch.zeros(2, vocabulary)
wanted, draws, numbers = np.zeros(2, WANTED), np.zeros(2, DRAWS), np.array([0.5])
wanted["count"], wanted["repetition_penalty"] = 1, 1.0
draws["numbers"], draws["divisor"], draws["top_p"] = numbers.ctypes.data, 1.0, 1.0
values, found, logs = np.empty((2, 1), np.float32), np.empty((2, 1), np.int64), np.empty(2, np.float32)
answer = (1, values.ctypes.data, found.ctypes.data, logs.ctypes.data)

calls = {
    "dq_linear": lambda count=many: code.dq_linear(linear.address, tokens.data_ptr(), count, None, out.data_ptr()),
    "dq_head": lambda: code.dq_head(
        linear.address, tokens.data_ptr(), many, nothing.ctypes.data, 0, None, None, normalizers.data_ptr()
    ),
    "dq_attend": lambda: code.dq_attend(
        *(each.ctypes.data for each in (blocks, lengths, starts)), 1, 2, 16, asked.data_ptr(), 32, 0.25, weighed.data_ptr()
    ),
    "dq_select": lambda: code.dq_select(logits.data_ptr(), 2, vocabulary, wanted.ctypes.data, *answer),
    "dq_draw": lambda: code.dq_draw(logits.data_ptr(), 2, vocabulary, wanted.ctypes.data, draws.ctypes.data, *answer),
}
calls["dq_linear"](4)  # The team's threads and their stacks are there.
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), hard))
failed = []
for name, call in calls.items():
    try:
        call()
    except MemoryError:
        failed.append(name)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
assert failed == list(calls), failed
for name in ("dq_linear", "dq_draw"):
    calls[name]()
print("done")
"""


def test_memory_that_runs_out_is_an_error(instruction_set: str) -> None:
    if sys.platform != "linux":
        pytest.skip("limits of the address space are Linux's")
    ended = subprocess.run([sys.executable, "-c", SCRIPT, instruction_set], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-2000:]
