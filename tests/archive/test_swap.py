"""A hidden folder takes its place: at any moment a reader finds one whole result, and whoever comes next goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from calclab.archive import folder as swap
from calclab.archive.folder import hidden, pending, put, settle, show

DIGEST = "0" * 12
FINISHED = ("completed",)


class StoppedError(BaseException):
    """The process is gone."""


def two(tmp_path: Path) -> tuple[Path, Path]:
    """An earlier result with files of the user's, and a new one that waits beside it."""
    folder = tmp_path / f"a-{DIGEST}"
    made = hidden(folder, DIGEST)
    for place, text, names in ((folder, "old", ["x.csv", "gone.csv"]), (made, "new", ["x.csv", "y.csv"])):
        place.mkdir()
        put(place, names)
        for name in names:
            (place / name).write_text(text)
        (place / "outcome.json").write_text(json.dumps({"status": "completed", "text": text}))
    (folder / "mine.csv").write_text("mine")
    (folder / "sub").mkdir()
    return folder, made


def check(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == [".files", "mine.csv", "outcome.json", "sub", "x.csv", "y.csv"]
    assert [(folder / name).read_text() for name in ("x.csv", "y.csv", "mine.csv")] == ["new", "new", "mine"]
    assert json.loads((folder / "outcome.json").read_text())["text"] == "new"
    assert os.listdir(folder.parent) == [folder.name]


@pytest.mark.parametrize("number", range(9))
def test_stopped_before_any_step_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    folder, made = two(tmp_path)
    done = 0

    def counted(real):
        def step(*args: object, **options: object) -> object:
            nonlocal done
            if done == number:
                raise StoppedError
            done += 1
            return real(*args, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(swap.os, name, counted(getattr(os, name)))
        for name in ("unlink", "rmdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            show(made, folder)
        except StoppedError:
            assert json.loads((folder / "outcome.json").read_text())["status"] == "completed"
            assert (folder / "mine.csv").read_text() == "mine"
    if pending(made, FINISHED):
        assert settle(made, folder, FINISHED)
    for left in folder.parent.glob(".*"):  # emptied, and not yet removed
        left.rmdir()
    check(folder)


def test_what_is_not_finished_does_not_wait(tmp_path: Path) -> None:
    folder, made = two(tmp_path)
    (made / "outcome.json").write_text(json.dumps({"status": "running"}))
    assert not pending(made, FINISHED)
    assert not settle(made, folder, FINISHED)
    assert (folder / "x.csv").read_text() == "old"
    assert not pending(tmp_path / "nothing", FINISHED)


def test_a_file_of_the_users_with_the_name_of_a_new_one_makes_way(tmp_path: Path) -> None:
    folder, made = two(tmp_path)
    (folder / "y.csv").write_text("mine too")
    show(made, folder)
    assert (folder / "kept1.y.csv").read_text() == "mine too"
    assert (folder / "y.csv").read_text() == "new"
