"""A file that a reader finds whole at every moment."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest

from calclab.sink import growing
from calclab.sink.growing import AppendingFile, GrowingFile

LINE = b"x" * 99 + b"\n"


@pytest.fixture(params=[0, growing.SMALL], ids=["large", "small"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Every test as for a large file, and as for a small one."""
    monkeypatch.setattr(growing, "SMALL", request.param)
    return request.param


def test_pieces_add_up_whether_begun_or_gone_on_with(tmp_path: Path) -> None:
    path, pieces = tmp_path / "a.csv", [f"{k}\n".encode() * (k + 1) for k in range(9)]
    for first in (0, 1, 3, 8):
        path.unlink(missing_ok=True)
        for part in (pieces[:first], pieces[first:]):
            file = GrowingFile(path)
            assert file.fresh == (not path.exists())
            for piece in part:
                file.write(piece)
                assert path.read_bytes().endswith(piece)
            file.close()
        assert path.read_bytes() == b"".join(pieces)
        assert os.listdir(tmp_path) == ["a.csv"]


def test_a_reader_who_keeps_the_file_open_sees_whole_pieces(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "a.csv")
    file.write(LINE)
    file.write(LINE)
    with (tmp_path / "a.csv").open("rb") as reader:
        for _ in range(5):
            file.write(LINE)
        assert len(reader.read()) % len(LINE) == 0
    file.close()


def test_what_a_killed_writer_has_hidden_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(LINE)
    (tmp_path / ".a.csv.next").write_bytes(LINE + b"half")
    os.link(tmp_path / "a.csv", tmp_path / ".a.csv.past")
    file = GrowingFile(tmp_path / "a.csv")
    file.write(LINE)
    file.write(LINE)
    file.close()
    assert (tmp_path / "a.csv").read_bytes() == 3 * LINE
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_piece_that_does_not_fit_is_not_there_and_the_next_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = GrowingFile(tmp_path / "a.csv")
    file.write(LINE)

    def full(self: object, piece: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(AppendingFile, "write", full)
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(OSError, match="full"):
                file.write(b"lost\n")
        assert os.listdir(tmp_path) == ["a.csv"]
        file.write(LINE)
    file.close()
    assert (tmp_path / "a.csv").read_bytes() == 3 * LINE


def test_without_hard_links_it_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def linkless(old: Path, new: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(growing.os, "link", linkless)
    file = GrowingFile(tmp_path / "a.csv")
    for _ in range(4):
        file.write(LINE)
    file.close()
    assert (tmp_path / "a.csv").read_bytes() == 4 * LINE
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_writer_that_is_killed_while_it_writes_leaves_whole_lines(tmp_path: Path) -> None:
    """It does nothing but write, so nearly every kill falls into a write. (AppendingFile leaves half lines here.)"""
    chance, path = random.Random(1), tmp_path / "a.csv"
    for _ in range(30):
        path.unlink(missing_ok=True)
        pid = os.fork()
        if not pid:
            try:
                file = GrowingFile(path)
                while True:
                    file.write(LINE * 1000)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.002, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert not path.exists() or path.stat().st_size % (1000 * len(LINE)) == 0
