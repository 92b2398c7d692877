"""What is never lost: the result of a run that is computed anew, the user's own files, and the rows of a sweep."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from calclab.app.compute import Pause
from calclab.app.place import Place
from calclab.app.rerun import main as compare_again
from calclab.archive.lock import hold
from calclab.core import Scan
from calclab.runs import main as runs

LINE = "topic=descent function=rosenbrock lr=0.0001 steps=60 dtype=float32 figures=false checkpoint_every=0.001"
OWN = """
import os
calls = 0
def breaks(x):
    global calls
    calls += os.path.exists("broken")
    if calls > 30:
        calls = 0
        raise RuntimeError("out of luck")
    return (x**2).sum()
"""
MINE = {"notes.txt": "mine", "mine.csv": "step,loss\n", ".hidden": "mine", "sub/a.txt": "mine", "x.old.csv": "step\n"}


def only(place: Path, topic: str = "descent") -> Path:
    (folder,) = (path for path in (place / "outputs" / topic).iterdir() if not path.name.startswith("."))
    return folder


def put(folder: Path) -> None:
    (folder / "sub").mkdir(exist_ok=True)
    for name, text in MINE.items():
        (folder / name).write_text(text)


def there(folder: Path) -> bool:
    return all((folder / name).is_file() and (folder / name).read_text() == text for name, text in MINE.items())


def numbers(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv") if path.is_file() and path.name not in MINE}


def stop(self: Pause, scan: Scan) -> bool:
    """Between two blocks: save, and hear a signal."""
    self.save(scan)
    os.kill(os.getpid(), signal.SIGINT)
    return True


def test_a_run_computed_anew_replaces_the_result_at_its_end(lab, tmp_path: Path) -> None:
    assert lab(LINE).status == 0
    folder = only(tmp_path)
    put(folder)
    before = numbers(folder)
    (folder / "scalars.csv").write_text("step,loss\n0,9\n")  # as other code may have computed it
    (folder / "gone.csv").write_text("step\n")
    with (folder / ".files").open("a") as names:
        names.write("gone.csv\n")
    assert lab(LINE + " rerun=true").status == 0
    assert numbers(folder) == before
    assert not (folder / "gone.csv").exists()  # the lab's, which this run does not make
    assert there(folder)
    assert len(list(folder.glob("events*"))) == 1
    assert only(tmp_path) == folder


@pytest.mark.parametrize("ends", ["fails", "interrupted"])
def test_the_result_is_there_until_the_new_one_is(
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    name = f"own_breaks_{ends}"
    (tmp_path / f"{name}.py").write_text(OWN)
    line = LINE.replace("function=rosenbrock", f"function._target_={name}.breaks function.at=[1,2]")
    assert lab(line).status == 0
    folder = only(tmp_path)
    put(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    if ends == "fails":
        (tmp_path / "broken").touch()
        result = lab(line + " rerun=true")
        assert result.status in (1, 2)
        (tmp_path / "broken").unlink()
    else:
        with monkeypatch.context() as patch:
            patch.setattr("calclab.app.compute.Pause.__call__", stop)
            result = lab(line + " rerun=true")
        assert result.status == 130
        assert (only(tmp_path).parent / f".{folder.name[-12:]}" / "checkpoint.pt").is_file()
    assert "the earlier result is kept" in result.out
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert "finished before" in lab(line).out
    assert lab(line + " rerun=true").status == 0
    assert numbers(folder) == {name: text for name, text in before.items() if name in numbers(folder)}
    assert there(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def half(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str = LINE) -> Path:
    """A run that was interrupted after its first block."""
    with monkeypatch.context() as patch:
        patch.setattr("calclab.app.compute.Pause.__call__", stop)
        assert lab(line).status == 130
    return only(tmp_path)


def test_what_rerun_has_begun_goes_on_and_what_it_has_not_begins_anew(
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bool] = []
    from calclab import checkpoint

    real = checkpoint.load

    def load(*args: object, **options: object) -> object:
        found = real(*args, **options)  # type: ignore[arg-type]
        loaded.append(found is not None)
        return found

    monkeypatch.setattr(checkpoint, "load", load)
    half(lab, tmp_path, monkeypatch)
    half(lab, tmp_path, monkeypatch, LINE + " rerun=true")
    assert lab(LINE + " rerun=true").status == 0
    assert loaded == [False, True]  # in a folder that is new nothing is looked for


@pytest.mark.parametrize("how", ["going on", "checkpoint", "scalars", "anew"])
def test_the_users_own_files_stay_when_a_run_goes_on_or_begins_anew(
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = half(lab, tmp_path, monkeypatch)
    put(folder)
    damaged = {"checkpoint": "checkpoint.pt", "scalars": "scalars.csv"}.get(how)
    if damaged:
        content = bytearray((folder / damaged).read_bytes())
        content[-40 if how == "checkpoint" else -3] ^= 0x80
        (folder / damaged).write_bytes(content)
    result = lab(LINE + (" rerun=true" if how == "anew" else ""))
    assert result.status == 0
    assert there(folder)
    assert (f"{damaged} is damaged: the run is begun anew" in result.err) == bool(damaged)
    assert "weights_only" not in result.out + result.err
    after = numbers(folder)
    shutil.rmtree(folder)
    assert lab(LINE).status == 0
    assert numbers(only(tmp_path)) == after


def test_a_file_of_the_users_with_a_name_that_the_run_needs_makes_way(lab, tmp_path: Path) -> None:
    assert lab(LINE).status == 0
    folder = only(tmp_path)
    whole = numbers(folder)
    shutil.rmtree(folder)
    (folder / "verify.csv").mkdir(parents=True)
    (folder / "x.csv").write_text("step,a\n")
    result = lab(LINE)
    assert result.status == 0
    assert "kept1.x.csv" in result.err
    assert "kept1.verify.csv" in result.err
    assert (folder / "kept1.x.csv").read_text() == "step,a\n"
    assert {name: text for name, text in numbers(folder).items() if not name.startswith("kept")} == whole


@pytest.mark.parametrize("place", ["status", "a digit", "the seal", "half", "nothing"])
def test_a_damaged_record_is_said_and_the_run_begun_anew(lab, tmp_path: Path, place: str) -> None:
    first = lab(LINE)
    folder = only(tmp_path)
    record, whole = folder / "outcome.json", numbers(folder)
    put(folder)
    text = record.read_text()
    damaged = {
        "status": text.replace('"completed"', '"convergef"'),
        "a digit": text.replace('"steps": 60', '"steps": 61'),
        "the seal": text[:-6] + ("0" if text[-6] != "0" else "1") + text[-5:],
        "half": text[: len(text) // 2],
        "nothing": "",
    }[place]
    assert damaged != text
    record.write_text(damaged)
    runs([str(tmp_path / "outputs")])
    result = lab(LINE)
    assert "unreadable" in result.out
    assert result.status == first.status == 0
    assert "outcome.json is damaged: the run is begun anew" in result.err
    assert numbers(folder) == whole
    assert there(folder)
    assert json.loads(record.read_text())["steps"] == 60


def test_a_damaged_claim_in_a_lock_is_not_believed(tmp_path: Path) -> None:
    place = Place(tmp_path, "t", "0" * 12, tmp_path / "t" / f"a-{'0' * 12}", {})
    place.folder.parent.mkdir(parents=True)
    (tmp_path / ".locks").mkdir()
    lock = tmp_path / ".locks" / f"t-{'0' * 12}.lock"
    for text in (
        '{"folder": "b/c"}',
        '{"folder": "b\\u0000"}',
        '{"folder": 3}',
        "[1, 2]",
        '"a"',
        '{"folder": ""}',
        "{",
    ):
        lock.write_text(text)
        with place.held() as anew:
            assert not anew


def test_prune_removes_the_run_and_not_the_users_files(lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab(LINE).status == 0
    assert lab(LINE + " seed=1").status == 0
    first, other = sorted(path for path in (tmp_path / "outputs" / "descent").iterdir())
    put(first)
    shutil.copytree(other, first.parent / f".{first.name[-12:]}")  # as a killed rerun leaves it
    assert runs(["prune", str(tmp_path / "outputs"), "--keep-last", "0", "--yes"]) == 0
    said = capsys.readouterr()
    assert "2 runs removed" in said.out
    assert f"stays: {first}: .hidden, mine.csv, notes.txt, sub, x.old.csv, not of the run" in said.err
    assert there(first)
    assert sorted(path.name for path in first.iterdir()) == sorted({name.split("/")[0] for name in MINE})
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    assert runs([str(tmp_path / "outputs")]) == 0
    assert "0 runs of 0" in capsys.readouterr().out  # what is left is no run
    assert lab(LINE).status == 0
    assert there(first)


def table(place: Path) -> pd.DataFrame:
    (path,) = (place / "outputs" / "sweeps").glob("*/sweep.csv")
    return pd.read_csv(path)


def test_a_job_that_another_process_computes_has_not_failed(lab, tmp_path: Path) -> None:
    line = "-m topic=derivative seed=1,2,3 figures=false"
    assert lab(line).status == 0
    folder = Path(table(tmp_path)["folder"][1])
    shutil.rmtree(tmp_path / folder)
    with hold(tmp_path / "outputs" / ".locks" / f"derivative-{folder.name[-12:]}.lock"):
        result = lab(line)
    assert result.status == 0
    assert "2 of 3 jobs done, 0 failed, 1 being computed by another process" in result.out
    assert table(tmp_path)["status"].tolist() == ["completed", "running", "completed"]
    assert lab(line).status == 0
    assert table(tmp_path)["status"].tolist() == ["completed"] * 3


@pytest.mark.parametrize("launcher", ["lab", "batch"])
def test_a_sweep_started_twice_at_once_counts_every_job(tmp_path: Path, launcher: str) -> None:
    (tmp_path / "own_twice.py").write_text(
        "def good(x):\n    return (x**2).sum()\ndef bad(x):\n    raise RuntimeError('no')\n"
    )
    words = ["topic=descent", "function._target_=own_twice.good,own_twice.bad", "function.at=[1,2]", "lr=0.1,0.2"]
    command = [sys.executable, "-m", "calclab", "-m", *words, "steps=30", "figures=false", f"hydra/launcher={launcher}"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(out, err, run.returncode) for run in both for out, err in [run.communicate(timeout=120)]]
    carried = [out for out, _, status in ends if "2 of 4 jobs done, 2 failed" in out and status in (1, 2)]
    refused = [err for _, err, status in ends if status == 2 and "this sweep is being computed by process" in err]
    assert carried
    assert len(carried) + len(refused) == 2, ends
    assert sorted(table(tmp_path)["status"]) == ["completed", "completed", "failed", "failed"]


def test_a_sweep_with_rerun_goes_on_where_it_was_stopped(lab, tmp_path: Path) -> None:
    (tmp_path / "own_stops.py").write_text(
        "import os, signal\n"
        "def stops(x):\n"
        "    if os.path.exists('stop'):\n"
        "        os.kill(os.getppid(), signal.SIGTERM)\n"
        "        os.remove('stop')\n"
        "    return (x**2).sum()\n"
        "def good(x):\n    return (x**2).sum()\n"
    )
    target = "own_stops.good,own_stops.stops"
    line = f"-m topic=descent function._target_={target} function.at=[1,2] steps=2000 tol=0 lr=1e-4 figures=false"
    assert lab(line).status == 0
    folders = [tmp_path / folder for folder in table(tmp_path)["folder"]]

    def times() -> list[int]:
        return [(folder / "outcome.json").stat().st_mtime_ns for folder in folders]

    first = times()
    time.sleep(0.02)
    (tmp_path / "stop").touch()
    assert lab(line + " rerun=true").status == 143
    second = times()
    assert second[0] > first[0]
    assert second[1] == first[1]
    assert lab(line + " rerun=true").status == 0
    third = times()
    assert third[0] == second[0]  # was done anew before the signal
    assert third[1] > second[1]
    assert lab(line + " rerun=true").status == 0
    assert all(now > before for now, before in zip(times(), third, strict=True))


def test_compared_again_a_status_that_differs_is_a_difference(
    lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "own_other_status"
    own = tmp_path / f"{name}.py"
    own.write_text("def f(x):\n    return (x**2).sum()\n")
    assert lab(f"topic=descent function._target_={name}.f function.at=[1,2] lr=0.3 steps=3 figures=false").status == 0
    folder = only(tmp_path)
    capsys.readouterr()
    assert compare_again([str(folder)]) == 0
    assert "the same, bit for bit" in capsys.readouterr().out
    record = json.loads((folder / "outcome.json").read_text())
    assert record["status"] == "completed"
    (folder / "outcome.json").write_text(json.dumps(record | {"status": "diverged"}))
    assert compare_again([str(folder)]) == 3
    said = capsys.readouterr().out
    assert "differs   status: diverged then, completed now" in said
    assert "the numbers are not the same" in said


def test_symlinked_outputs_are_as_good_as_others(lab, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "outputs").symlink_to("disk")
    assert lab(LINE).status == 0
    put(only(tmp_path))
    assert lab(LINE + " rerun=true").status == 0
    assert there(only(tmp_path))
    assert os.path.islink(tmp_path / "outputs")
