"""What a checkpoint knows of a run's files: lengths and CRCs, of which only what is new is read; and what it leaves."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path

import pytest
import torch

from calclab import checkpoint
from calclab.core import Scan, Status

CPU = torch.device("cpu")


def scan(step: int, **last: torch.Tensor) -> Scan:
    return Scan(Status.INTERRUPTED, step, {"x": torch.tensor([float(step)])}, last, [])


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
@pytest.mark.parametrize("size", [None, 0, 1, 20, 36, 37, 500])
@pytest.mark.parametrize("known", [0, 1, 14, 37])
def test_a_mark_is_the_length_and_crc_of_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, size: int | None, known: int
) -> None:
    if size is not None and known > size:
        return  # nobody asks for less than is known
    monkeypatch.setattr(checkpoint, "CHUNK", chunk)
    path, content = tmp_path / "a.csv", bytes(range(37))
    path.write_bytes(content)
    before = (known, zlib.crc32(content[:known]))
    wanted = content if size is None else content[:size]
    assert checkpoint.mark(path, before, size) == (len(wanted), zlib.crc32(wanted))


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    """Bytes that were read before are not looked at again: their CRC is believed until somebody goes on."""
    path, known = tmp_path / "a.csv", {}
    path.write_bytes(b"first,")
    assert checkpoint.marks(tmp_path, checkpoint.every, known) == {"a.csv": (6, zlib.crc32(b"first,"))}
    path.write_bytes(b"OTHER,second")
    assert checkpoint.marks(tmp_path, checkpoint.every, known) == {"a.csv": (12, zlib.crc32(b"first,second"))}
    assert checkpoint.marks(tmp_path, checkpoint.every, {}) == {"a.csv": (12, zlib.crc32(b"OTHER,second"))}


def test_scalars_with_more_columns_are_read_anew(tmp_path: Path) -> None:
    path, known = tmp_path / "scalars.csv", {}
    path.write_bytes(b"step,a\n0,1\n")
    checkpoint.marks(tmp_path, checkpoint.every, known)
    path.write_bytes(b"step,a,b\n0,1,\n1,2,3\n")
    assert checkpoint.marks(tmp_path, checkpoint.every, known)["scalars.csv"] == (20, zlib.crc32(path.read_bytes()))


def test_what_a_checkpoint_speaks_of(tmp_path: Path) -> None:
    for name in (
        "a.csv",
        "H.parquet",
        "events.out.tfevents.1",
        ".files",
        "summary.md",
        "notes.csv.bak",
        "checkpoint.pt",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.csv").mkdir()
    assert sorted(checkpoint.present(tmp_path, checkpoint.every)) == [
        ".files",
        "H.parquet",
        "a.csv",
        "events.out.tfevents.1",
    ]
    assert sorted(checkpoint.present(tmp_path, lambda name: name != "a.csv")) == [
        ".files",
        "H.parquet",
        "events.out.tfevents.1",
    ]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_checkpoint_that_cannot_be_saved_leaves_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    checkpoint.save(tmp_path, scan(1), 1.0)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(type(error)):
        checkpoint.save(tmp_path, scan(2), 2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    found = checkpoint.load(tmp_path, CPU)
    assert found is not None
    assert (found[0].step, found[1]) == (1, 1.0)


def test_torchs_own_checksums_are_as_before(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    for wanted in (True, False):
        torch.serialization.set_crc32_options(wanted)
        checkpoint.save(tmp_path, scan(1), 1.0)
        assert torch.serialization.get_crc32_options() is wanted
    torch.serialization.set_crc32_options(before)


def test_the_last_values_come_back(tmp_path: Path) -> None:
    last = {"loss": torch.tensor(0.25, dtype=torch.float64), "x": torch.arange(3.0)}
    checkpoint.save(tmp_path, scan(4, **last), 3.5)
    found = checkpoint.load(tmp_path, CPU)
    assert found is not None
    assert found[0].last.keys() == last.keys()
    assert all(torch.equal(found[0].last[name], value) for name, value in last.items())


def test_files_are_cut_removed_or_left_as_their_marks_say(tmp_path: Path) -> None:
    for name, text in (("a.csv", "one\n"), ("b.csv", "two\n"), (".files", "a.csv\n"), ("mine.csv", "?")):
        (tmp_path / name).write_text(text)
    own = lambda name: name != "mine.csv"  # noqa: E731
    checkpoint.save(tmp_path, scan(1), 1.0, own)
    (tmp_path / "a.csv").write_text("one\nmore\n")
    (tmp_path / "late.csv").write_text("later\n")
    (tmp_path / ".files").write_text("a.csv\nlate.csv\n")
    said: list[str] = []
    assert checkpoint.load(tmp_path, CPU, own, said.append) is not None
    assert said == []
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != "checkpoint.pt"}
    assert found == {"a.csv": "one\n", "b.csv": "two\n", ".files": "a.csv\nlate.csv\n", "mine.csv": "?"}
    (tmp_path / "b.csv").unlink()
    assert checkpoint.load(tmp_path, CPU, own, said.append) is None
    assert said == ["b.csv is damaged: the run is begun anew"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".files", "mine.csv"]


def test_scalars_lose_the_columns_that_came_later(tmp_path: Path) -> None:
    path = tmp_path / "scalars.csv"
    path.write_text("step,a\n0,1\n")
    checkpoint.save(tmp_path, scan(0), 1.0)
    path.write_text("step,a,late\n0,1,\n1,2,3\n")
    assert checkpoint.load(tmp_path, CPU) is not None
    assert path.read_text() == "step,a\n0,1\n"
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []


def test_a_run_that_has_ended_needs_no_checkpoint(tmp_path: Path) -> None:
    checkpoint.finish(tmp_path)
    checkpoint.save(tmp_path, scan(1), 1.0)
    checkpoint.finish(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert checkpoint.load(tmp_path, CPU) is None
    assert checkpoint.load(tmp_path / "nowhere", CPU) is None


def test_a_seal_alone_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint.SEAL % zlib.crc32(b""))
    said: list[str] = []
    assert checkpoint.load(tmp_path, CPU, say=said.append) is None
    assert said == ["checkpoint.pt is damaged: the run is begun anew"]


def test_what_the_disk_says_is_said_even_where_nothing_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, scan(1), 1.0)


class Payload:
    ran = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Payload, "ran", True)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    """Somebody else's file, with a right seal."""
    body = bytes(checkpoint.packed({"step": Payload()}))
    (tmp_path / "checkpoint.pt").write_bytes(body + checkpoint.SEAL % zlib.crc32(body))
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(tmp_path, CPU)
    assert not Payload.ran
