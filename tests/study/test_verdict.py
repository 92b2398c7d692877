"""What claims come to over trials: all, none, some of the settings, some of the seeds."""

from __future__ import annotations

import pytest

from calclab.errors import UserError
from calclab.schema.study import study
from calclab.study.verdict import Trial, summaries, verdict


def trial(holds: bool, found: str = "1", **setting: str) -> Trial:
    return Trial(setting, [{"text": "x is 1", "holds": holds, "found": found}])


def test_all_none_and_some() -> None:
    assert verdict([trial(True, seed="0"), trial(True, seed="1")]) == "holds"
    assert verdict([trial(False, lr="1"), trial(False, lr="2")]) == "does not hold"
    assert verdict([trial(True, lr="1"), trial(False, lr="2"), trial(True, lr="3")]) == "holds only for lr=1, lr=3"


def test_seeds_are_counted_within_each_setting() -> None:
    trials = [trial(True, lr="1", seed="0"), trial(False, lr="1", seed="1"), trial(False, lr="2", seed="0")]
    assert verdict(trials) == "holds only for lr=1 1 of 2 seeds"
    assert verdict([trial(True, seed="0"), trial(False, seed="1")]) == "holds only for 1 of 2 seeds"


def test_numbers_of_different_settings_have_a_range_and_no_error() -> None:
    (row,) = summaries([trial(True, "1", lr="1"), trial(True, "2", lr="2")])
    assert row.found == "between 1 and 2"


def test_claims_with_numbers_of_their_own_are_one_claim() -> None:
    trials = [Trial({"lr": v}, [{"text": f"x is {v}", "holds": True, "found": v}]) for v in ("1", "2")]
    assert [row.text for row in summaries(trials, ["x is lr"])] == ["x is lr"]


def test_a_trial_without_claims_holds_nothing() -> None:
    assert verdict([Trial({}, [])]) == "does not hold"


def test_the_error_of_the_mean_is_that_of_independent_trials() -> None:
    (row,) = summaries([trial(True, found) for found in ("1", "2", "3", "4")])
    assert row.found == "2.5 ± 0.65 (4 trials, standard error)"  # √(5/3)/2
    assert (row.held, row.trials, row.holds) == (4, 4, True)
    (row,) = summaries([trial(True, "1"), trial(False, "inf")])
    assert row.found == "between 1 and inf"
    assert not row.holds


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"papper": "x"}, "no such key"),
        ({"seeds": 0}, "whole number"),
        ({"arxiv": 2210.03294}, "in quotes"),
        ({"sweep": {"lr": 0.1}}, "a list of values"),
        ({"verdict": "certainly"}, "begins with holds"),
        (["x"], "is a mapping"),
    ],
)
def test_a_study_that_says_something_else_is_taught(given: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        study(given, "mine")
