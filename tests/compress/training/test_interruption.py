"""Ctrl-C: the first is noted and answered, the second stops at once."""

from __future__ import annotations

import os
import signal

import pytest

from compress.commands.outcome import exit_code
from compress.training.interruption import interruptible
from compress.training.run import EXIT_INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_answered_once(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with interruptible() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
        assert "what is under way is finished, then saved" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == ""


def test_a_second_ctrl_c_ends_the_command_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return 0

    assert exit_code("compress", work) == EXIT_INTERRUPTED
    assert capfd.readouterr().err.endswith("\ndqbart compress: interrupted without saving\n")
