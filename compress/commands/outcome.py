"""How a training command ends: an exit code, and a line for what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from compress.expected_errors import EXPECTED_ERRORS
from compress.training.run import EXIT_INTERRUPTED


def exit_code(command: str, work: Callable[[], int]) -> int:
    """What `work` returns; 1 after an expected error, 130 after Ctrl-C before it could save, each told in one line."""
    try:
        return work()
    except EXPECTED_ERRORS as error:
        print(f"dqbart {command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"dqbart {command}: interrupted without saving", file=sys.stderr)
        return EXIT_INTERRUPTED
