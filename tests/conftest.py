"""What every test shares: property tests fail for a wrong value, never for a slow machine; and a worker of its own core."""

import atexit
import os
import shutil
import signal
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]

settings.register_profile("dqbart", deadline=None)
settings.load_profile("dqbart")

# Tiny products are slower on several threads, and the other cores are for other workers. Said before torch is imported, and
# to the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Packed weights are kept for the run alone, and for all that it starts.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = _cache = tempfile.mkdtemp(prefix="dqbart-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)

# Shells have what they start in the background ignore Ctrl-C, and so would the processes that tests send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

STARTS, SHARES = "with start_server(", "shared_server"
"""What stands in files whose tests need a server of their own, and the one of all."""


@cache
def needed(file: str) -> str:
    """Which of the two a file of tests needs, if any. Told by its text: who gives out the tests has not imported them."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((word for word in (SHARES, STARTS) if word in text), "")


class Scheduling(LoadFileScheduling):
    """Tests of a file stay on one worker, as they share fixtures; so do those of the files that start servers, and of those
    that share one: a server takes gigabytes, and there are never more than two.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return needed(file) or file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    items.sort(key=lambda item: (STARTS, SHARES, "").index(needed(item.nodeid.partition("::")[0])))
