"""One process at a time has a lock; what it said of itself is read by whoever comes next."""

from __future__ import annotations

import os
from pathlib import Path

from calclab.archive.lock import claim, hold, lock_file, taken


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
