"""Ctrl-C in the middle of a call that does not come back: it is answered while the call lasts, and a second one ends
the process while it lasts. Whether the call has come back is told by a file, not by a clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from calclab.app.signals import BEFORE, NOW, RUN, answered, signals

SLOW = """
import hashlib, os
calls = 0
def f(x):
    global calls
    calls += 1
    if calls == {calls}:
        open("in", "w").close()
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", {rounds})  # in C, without a look at signals
        open("out", "w").close()
    return (x**2).sum()
"""


@contextmanager
def a_long_call(place: Path, calls: int, rounds: int) -> Iterator[subprocess.Popen[str]]:
    """A descent whose callable is within a call of C."""
    (place / "slow.py").write_text(SLOW.format(calls=calls, rounds=rounds))
    line = "topic=descent function._target_=slow.f function.at=[1] lr=0.001 steps=100000 tol=0 figures=false"
    command = [sys.executable, "-m", "calclab", *line.split()]
    run = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 120
        while not (place / "in").exists():
            assert run.poll() is None, "the run ended before its long call"
            assert time.monotonic() < until, "the run never came to its long call"
            time.sleep(0.01)
        yield run
    finally:
        run.kill()
        run.communicate()


def first_line(run: subprocess.Popen[str], beginning: str) -> str:
    assert run.stderr is not None
    return next(line.strip() for line in run.stderr if line.startswith(f"calclab: {beginning}"))


@pytest.mark.parametrize(("calls", "told"), [(1, BEFORE), (500, RUN)])
def test_a_long_call_is_answered_and_ended(tmp_path: Path, calls: int, told: str) -> None:
    with a_long_call(tmp_path, calls, 2**31 - 1) as run:  # for many minutes
        run.send_signal(signal.SIGINT)
        assert first_line(run, "interrupted") == f"calclab: {told}"
        assert not (tmp_path / "out").exists()
        run.send_signal(signal.SIGINT)
        assert first_line(run, "ended") == f"calclab: {NOW}"
        assert run.wait(timeout=60) == 130
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "outputs" / "descent").exists() is (told == RUN)


def test_after_one_signal_the_run_ends_when_the_call_has(tmp_path: Path) -> None:
    with a_long_call(tmp_path, 500, 3_000_000) as run:
        run.send_signal(signal.SIGINT)
        assert first_line(run, "interrupted") == f"calclab: {RUN}"
        out, _ = run.communicate(timeout=120)
        assert run.returncode == 130
        assert (tmp_path / "out").exists()
        assert "interrupted" in out


def test_signals_are_told_once_each_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", print)
    threads = threading.active_count()
    before = signal.getsignal(signal.SIGINT)
    with answered(), signals("what next") as received:
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: bool(received))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGTERM, signal.SIGINT]
    assert capsys.readouterr().err.splitlines() == ["calclab: what next", f"calclab: {NOW}"]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
    wait_until(lambda: threading.active_count() == threads)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
