"""One process at a time has a lock; what it said of itself is read by whoever comes next."""

from __future__ import annotations

import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from calclab.app.place import BusyError, Place
from calclab.archive.lock import claim, computing, hold, lock_file, taken


def test_the_holder_says_who_it_is(tmp_path: Path) -> None:
    path = lock_file(tmp_path, "descent", "0" * 12)
    assert claim(path) == {}
    with hold(path) as mine:
        assert mine is not None
        assert mine.before() == {}
        mine.say({"pid": os.getpid(), "folder": "a long name " * 20})
        mine.say({"pid": os.getpid(), "folder": "short"})
        with hold(path, 0.03) as other:
            assert other is None
        assert claim(path) == {"pid": os.getpid(), "folder": "short"}
        assert taken(path)
    assert taken(path) is False
    with hold(path) as mine:
        assert mine is not None
        assert mine.before()["folder"] == "short"


def test_half_a_claim_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text('{"pid": 1')
    assert claim(tmp_path / "a.lock") == {}


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that is not POSIX's: there is no fcntl, and `filelock` takes a file of its own for the lock."""
    import filelock

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_one_process_at_a_time_has_the_lock(tmp_path: Path) -> None:
    path = lock_file(tmp_path, "descent", "0" * 12)
    assert taken(path) is False  # nobody has ever held it
    with hold(path) as mine:
        assert mine is not None
        assert mine.before() == {}  # nothing can be said there
        mine.say({"pid": os.getpid()})
        began = time.monotonic()
        with hold(path, 0.1) as other:
            assert other is None
        assert time.monotonic() - began >= 0.1
        assert taken(path) is True
        assert computing(path, {})
    assert taken(path) is False
    assert not computing(path, {"host": platform.node()})
    with hold(path) as mine:
        assert mine is not None


@pytest.mark.usefixtures("no_flock")
def test_without_flock_who_computes_is_another_process(tmp_path: Path) -> None:
    place = Place(tmp_path, "t", "0" * 12, tmp_path / "t" / f"a-{'0' * 12}", {})
    with place.held(), pytest.raises(BusyError, match="is being computed by another process"), place.held():
        pass
    with place.held():
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_lock_that_cannot_be_asked_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    path = lock_file(tmp_path, "descent", "0" * 12)
    path.parent.mkdir()
    path.touch()

    class Broken:
        def __init__(self, *args: object, **options: object) -> None:
            pass

        def acquire(self) -> None:
            raise OSError("no locks here")

    monkeypatch.setattr(filelock, "FileLock", Broken)
    assert taken(path) is None
    now = datetime.now(UTC).isoformat()
    assert computing(path, {"host": platform.node(), "heartbeat": now})  # then a fresh sign of life counts
    assert not computing(path, {"host": platform.node(), "heartbeat": "2020-01-01T00:00:00+00:00"})


@pytest.mark.parametrize("text", ["[1]", "3", '"a"', "null", "", "\xff", "[" * 100_000])
def test_a_damaged_claim_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.lock").write_text(text, encoding="latin-1")
    assert claim(tmp_path / "a.lock") == {}
