"""A sweep read back from its folder: what was swept, the ranking, and which job is the best."""

from __future__ import annotations

import csv
import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calclab.archive.sweep import Sweep, read_sweep, split
from calclab.errors import UserError

COLUMNS = ("job", "overrides", "status", "objective", "steps", "seconds", "exit", "folder", "error")


def write(outputs: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """sweep.csv of a sweep as the lab leaves it."""
    folder = outputs / "sweeps" / "s-0123456789ab"
    folder.mkdir(parents=True)
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows({"job": i, "status": "completed", **row} for i, row in enumerate(rows))
    return folder


def test_what_differs_was_swept_and_constants_were_not(outputs: Path) -> None:
    asked = [f"function=booth optimizer={o} lr={lr} steps=5" for o in ("gd", "adam") for lr in ("0.1", "0.2")]
    sweep = read_sweep(write(outputs, [{"overrides": words, "objective": 1.0} for words in asked]))
    assert sweep.swept == ("optimizer", "lr")
    assert sweep.column("lr") == [0.1, 0.2, 0.1, 0.2]
    assert sweep.column("optimizer") == ["gd", "gd", "adam", "adam"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xy 1,=[](){}", max_size=8)), max_size=4))
def test_words_in_one_line_are_told_apart(pairs: list[tuple[str, str]]) -> None:
    """Quoted as Hydra quotes them, whatever is within."""
    words = [f'{key}.name="{value}"' for key, value in pairs]
    assert list(split(" ".join(words))) == words


def test_the_ranking_is_by_objective_and_what_ran_away_comes_after(outputs: Path) -> None:
    rows: list[dict[str, Any]] = [{"objective": value} for value in (3.0, -1.0, 2.0)]
    rows += [{"status": "diverged", "objective": -1e30}, {"objective": "nan"}, {"status": "failed"}]
    rows += [{"status": "interrupted", "objective": -5.0}]
    rows = [row | {"overrides": f"lr={k}"} for k, row in enumerate(rows)]
    for order in random.Random(0).sample(list(itertools.permutations(range(len(rows)))), 20):
        sweep = Sweep(outputs, read_sweep(write(outputs / str(order), [rows[i] for i in order])).jobs)
        ranked = [order[job.number] for job in sweep.ranked]
        assert ranked[:3] == [1, 2, 0]
        assert set(ranked[3:5]) == {3, 4}
        assert ranked[5:] == [6, 5]
        assert sweep.best is not None
        assert order[sweep.best.number] == 1


def test_a_setting_is_judged_by_the_median_of_its_seeds_not_by_its_luck(outputs: Path) -> None:
    found = {("0.1", 1): 0.0, ("0.1", 2): 8.0, ("0.1", 3): 9.0, ("0.2", 1): 3.0, ("0.2", 2): 4.0, ("0.2", 3): 5.0}
    found |= {("0.3", 1): -9.0, ("0.3", 2): -9.0, ("0.3", 3): -9.0}
    away = {("0.3", 2), ("0.3", 3)}
    rows = [
        {
            "overrides": f"lr={lr} seed={seed}",
            "objective": value,
            "status": "diverged" if (lr, seed) in away else "completed",
        }
        for (lr, seed), value in found.items()
    ]
    sweep = read_sweep(write(outputs, rows))
    assert sweep.best is not None
    assert sweep.best.knobs["lr"] == "0.2"  # of 0.3 most ran away, 0.1 has the least of those that did not
    assert sweep.best.objective == statistics.median(v for (lr, _), v in found.items() if lr == "0.2")


def test_objectives_of_different_functions_are_not_ranked_against_each_other(outputs: Path) -> None:
    asked = [("booth", 0.1, 5.0), ("sphere", 0.1, 1.0), ("booth", 0.2, 4.0), ("sphere", 0.2, 2.0)]
    sweep = read_sweep(
        write(outputs, [{"overrides": f"function={f} lr={lr}", "objective": value} for f, lr, value in asked])
    )
    assert [[job.objective for job in part.ranked] for part in sweep.parts] == [[4.0, 5.0], [1.0, 2.0]]


def test_names_limits_and_folders_come_from_the_runs_wherever_they_are_now(outputs: Path, make: Any) -> None:
    folders = [make(number=k, lr=0.1 * k, answer={"values": {"loss": k, "largest_stable_lr": 0.5}}) for k in (1, 2)]
    at = write(
        outputs, [{"overrides": f"lr={k}", "objective": k, "folder": folder} for k, folder in enumerate(folders)]
    )
    moved = outputs.rename(outputs.with_name("elsewhere")) / at.relative_to(outputs)
    sweep = read_sweep(moved)
    assert (sweep.measure, sweep.direction, sweep.judged) == ("loss", "minimize", True)
    assert sweep.limits == [0.5, 0.5]
    assert all(job.folder is not None and job.folder.is_dir() for job in sweep.jobs)


def test_what_is_better_when_it_is_larger_is_sought_from_the_other_end(outputs: Path, make: Any) -> None:
    folders = [make(number=k, answer={"values": {"held_out_accuracy": k / 4}}) for k in (1, 2)]
    rows = [{"overrides": f"lr={k}", "objective": k / 4, "folder": folder} for k, folder in enumerate(folders, 1)]
    best = read_sweep(write(outputs, rows)).best
    assert best is not None
    assert best.objective == 0.5


def test_a_folder_that_is_no_sweep_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="outputs/sweeps"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.csv").write_text("job,status\nx,\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_sweep(tmp_path)
