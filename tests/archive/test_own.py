"""Whose files are in a run's folder, records that seal themselves, and a run that takes the place of an earlier one."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import calclab
from calclab.archive import find
from calclab.archive import folder as files
from calclab.archive.folder import damaged, hidden, move, pending, sealed, settle
from calclab.archive.frames import missing
from calclab.archive.lock import fresh, hold, taken
from calclab.archive.prune import carry_out, plan, used
from calclab.archive.table import columns_of

DONE = ("completed", "converged")


def there(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def listed_run(folder: Path, **content: str) -> Path:
    """A run's folder with a list of its own files; keywords are names with _ for the dot."""
    folder.mkdir(parents=True)
    names = {name.replace("_", "."): text for name, text in content.items()}
    files.put(folder, list(names))
    for name, text in names.items():
        (folder / name).write_text(text)
    return folder


# --- whose files they are ---------------------------------------------------------------------------------------------


def test_of_a_sweeps_folder_the_pictures_that_it_draws_are_the_labs(tmp_path: Path) -> None:
    for name in ("sweep.csv", "sweep.png", "history.png", "mine.png"):
        (tmp_path / name).touch()
    assert files.foreign(tmp_path) == ["mine.png"]


def test_what_is_on_the_list_is_the_labs_and_all_else_is_not(tmp_path: Path) -> None:
    folder = listed_run(tmp_path / "run", x_csv="1")
    files.put(folder, ["H.#.csv"])
    mine = files.own(folder)
    for name in ("x.csv", "H.0.csv", "H.12.csv", ".x.csv.next", ".x.csv.past", ".x.csv", "x.csv.part", "outcome.json"):
        assert mine(name), name
    assert mine("events.out.tfevents.1.host.calclab")
    for name in (
        "y.csv",
        "H.csv",
        "H.a.csv",
        "H.0.csv.bak",
        "notes.md",
        "events.out.tfevents.1.host",
        "x-csv",
        ".files2",
    ):
        assert not mine(name), name
    (folder / "notes.md").write_text("mine")
    (folder / files.LEAVING).mkdir()
    assert files.foreign(folder) == ["notes.md"]


def test_a_folder_without_a_list_is_told_by_kinds_where_it_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert files.listed(tmp_path) is None
    assert files.foreign(tmp_path) == ["a.csv"]
    (tmp_path / "outcome.json").write_text("{}")
    assert files.foreign(tmp_path) == []


def test_a_list_that_was_cut_off_within_a_line_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / files.LIST).write_text("x.csv\nhalf.c")
    files.put(tmp_path, ["y.csv", "z.csv"])
    assert files.listed(tmp_path) == ["x.csv", "half.c", "y.csv", "z.csv"]
    files.put(tmp_path, [])
    assert files.listed(tmp_path) == ["x.csv", "half.c", "y.csv", "z.csv"]


def test_the_users_file_makes_way_before_one_of_that_name_is_made(tmp_path: Path) -> None:
    for name in ("H.3.csv", "kept1.H.3.csv", "other.csv"):
        (tmp_path / name).write_text(name)
    assert files.add(tmp_path, ["H.#.csv", "x.csv"]) == [("H.3.csv", "kept2.H.3.csv")]
    assert there(tmp_path) == {
        "kept1.H.3.csv": "kept1.H.3.csv",
        "kept2.H.3.csv": "H.3.csv",
        "other.csv": "other.csv",
        ".files": "\nH.#.csv\nx.csv\n",
    }
    assert files.add(tmp_path, []) == []


def test_a_folder_with_a_name_of_the_labs_makes_way(tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run", x_csv="1")
    (run / "summary.md").mkdir()
    (run / "mine").mkdir()
    assert files.blocked(run) == [("summary.md", "kept1.summary.md")]
    assert (run / "kept1.summary.md").is_dir()
    assert (run / "mine").is_dir()


# --- one run in the place of another ----------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_whole_run_takes_its_place_and_leaves_what_is_the_users(tmp_path: Path, earlier: bool, killed: bool) -> None:
    place = tmp_path / "run"
    if earlier:
        listed_run(place, x_csv="old", gone_csv="old", outcome_json="old")
        (place / "notes.md").write_text("mine")
        (place / "new.csv").write_text("mine too")
    made = listed_run(hidden(place, "abc"), x_csv="new", new_csv="new", outcome_json='{"status": "completed"}')
    assert pending(made, DONE)
    if killed and earlier:  # at the first file of the last step
        real, calls = os.replace, []

        def dies(*names: object) -> None:
            calls.append(names)
            if len(calls) > 1:
                raise KeyboardInterrupt
            real(*names)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", dies)
            with pytest.raises(KeyboardInterrupt):
                settle(made, place, DONE)
        assert pending(made, DONE)
    assert settle(made, place, DONE) is True
    found = there(place)
    assert {name: text for name, text in found.items() if "kept" not in name and name != ".files"} == {
        "x.csv": "new",
        "new.csv": "new",
        "outcome.json": '{"status": "completed"}',
        **({"notes.md": "mine"} if earlier else {}),
    }
    assert not earlier or found["kept1.new.csv"] == "mine too"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert settle(made, place, DONE) is False


def test_what_is_not_finished_waits(tmp_path: Path) -> None:
    made = listed_run(hidden(tmp_path / "run", "abc"), outcome_json='{"status": "running"}')
    assert not pending(made, DONE)
    assert settle(made, tmp_path / "run", DONE) is False
    assert made.is_dir()
    assert not (tmp_path / "run").exists()


def test_the_record_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = listed_run(tmp_path / "moving", outcome_json="r", a_csv="a", z_csv="z")
    (tmp_path / "run").mkdir()
    order: list[str] = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(a).name), real(a, b)))
    move(moving, tmp_path / "run")
    assert order[-1] == "outcome.json"
    assert sorted(order) == [".files", "a.csv", "outcome.json", "z.csv"]
    assert not moving.exists()


# --- records and locks ------------------------------------------------------------------------------------------------


def test_a_record_notices_every_flipped_bit() -> None:
    text = sealed(json.dumps({"status": "completed", "steps": 3}, indent=2).encode() + b"\n")
    assert not damaged(text)
    read = json.loads(text)
    assert read.pop("crc32")
    assert read == {"status": "completed", "steps": 3}
    body = text.index(b',\n  "crc32"')
    for place in range(body):
        other = bytearray(text)
        other[place] ^= 1
        assert damaged(bytes(other)), place
    assert not damaged(b'{"status": "completed"}\n')  # by hand


@pytest.mark.parametrize("flock", [True, False])
def test_a_lock_is_held_by_one_with_and_without_flock(
    tmp_path: Path, flock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock  # noqa: F401  before fcntl is hidden

    if not flock:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    path, seen = tmp_path / "deep" / "a.lock", []

    def other() -> None:
        with hold(path, 0.05) as second:
            seen.append(second)

    with hold(path) as first:
        assert first is not None
        first.say({"pid": 1})
        waiting = threading.Thread(target=other)
        waiting.start()
        waiting.join()
    assert seen == [None]
    with hold(path) as again:
        assert again is not None
        assert again.before() == ({"pid": 1} if flock else {})


def test_a_lock_can_be_read_by_all_and_written_by_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for path in (tmp_path / "a.lock", tmp_path / "new" / "a.lock"):
            with hold(path) as mine:
                assert mine is not None
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_a_sign_of_life_is_recent_in_any_time_zone() -> None:
    now = datetime.now(UTC)
    for seen in (now, now.replace(tzinfo=None), now.astimezone(timezone(timedelta(hours=5)))):
        assert fresh(seen.isoformat())
        for away in (59, -59):
            assert fresh((seen + timedelta(seconds=away)).isoformat()) or away > 0
        for away in (62, -62):
            assert not fresh((seen + timedelta(seconds=away)).isoformat())
    assert not fresh("yesterday")
    assert not fresh(None)


# --- tables and folders -----------------------------------------------------------------------------------------------


def test_the_size_stands_before_the_folder_or_at_the_end() -> None:
    assert columns_of(None, disk=True)[-2:] == ["size", "folder"]
    assert columns_of("lr,loss", disk=True) == ["lr", "loss", "size"]
    assert columns_of("size,lr", disk=True) == ["size", "lr"]
    assert columns_of("folder,lr", disk=True) == ["size", "folder", "lr"]
    assert columns_of("+lr", disk=True)[-3:] == ["lr", "size", "folder"]
    assert "size" not in columns_of(None)


@pytest.mark.parametrize("up", [3, 2, 1, 0])
def test_a_run_is_found_from_wherever_it_is_named(
    make, outputs: Path, monkeypatch: pytest.MonkeyPatch, up: int
) -> None:
    """With its topic and its outputs folder in the name, the name is kept; with less of it, it is completed."""
    run = make("descent")
    place = Path(*run.parts[len(run.parts) - up :]) if up else Path()
    monkeypatch.chdir(run.parents[up - 1] if up else run)
    for given in (place, str(place)):
        found = calclab.load(given)
        assert found.topic == "descent"
        assert Path(found.folder) == (place if up == 3 else run)
    assert Path(calclab.load(Path("..") / run.name).folder) == run if not up else True


def test_a_lock_that_cannot_be_asked_is_neither_free_nor_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert taken(tmp_path / "file" / "a.lock") is None
    assert taken(tmp_path / "none.lock") is False


def test_pruning_frees_what_the_runs_took(make, outputs: Path) -> None:
    runs = [make(number=k) for k in (1, 2)]
    (runs[1] / "notes.md").write_text("mine" * 50)
    sizes = [run.size for run in find(outputs)]
    report = carry_out(plan(find(outputs)), outputs)
    assert len(report.gone) == 2
    left = sum(path.stat().st_size for path in outputs.rglob("*.md"))
    assert report.freed == sum(sizes) - used(runs[1])
    assert (left == 200) == (runs[1] / "notes.md").exists()


@pytest.mark.parametrize(
    ("known", "words"), [([], "It has none"), (["a"], "There is a"), (["a", "b"], "There are a, b")]
)
def test_what_a_run_has_is_told(known: list[str], words: str) -> None:
    assert words in str(missing("trajectory", "x", known))
