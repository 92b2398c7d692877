"""Claims are held against what was found; one that no run can keep is refused before the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.core import Answer, Column, Outcome, Status
from calclab.errors import UserError
from calclab.study.claims import check_claims, check_form

ANSWER = Answer("", {"value": torch.tensor(19.0), "pair": torch.tensor([1.0, 2.0]), "kind": "saddle point"})
COLUMNS = {"x": Column(range(4), torch.tensor([[0.0], [1.0], [4.0], [9.0]], dtype=torch.float64))}
OUTCOME = Outcome(Status.CONVERGED, 3, 0.1, {})

HELD = [
    ({"quantity": "value", "equals": 19}, True),
    ({"quantity": "value", "equals": "4*5 - 1"}, True),
    ({"quantity": "value", "equals": 19.1}, False),
    ({"quantity": "value", "equals": 19.1, "within": 0.01}, True),
    ({"quantity": "value", "equals": "saddle point"}, False),
    ({"quantity": "value", "same_as": "kind"}, False),
    ({"quantity": "value", "same_as": "valeu"}, False),
    ({"quantity": "kind", "equals": "saddle point"}, True),
    ({"quantity": "kind", "equals": "minimum"}, False),
    ({"quantity": "kind", "same_as": "kind"}, True),
    ({"quantity": "kind", "at_most": 3}, False),
    ({"quantity": "pair", "equals": ["sqrt(1)", 2]}, True),
    ({"quantity": "pair", "equals": [1, 2, 3]}, False),
    ({"quantity": "pair", "equals": 1}, False),
    ({"quantity": "pair", "at_most": 2}, True),
    ({"quantity": "pair", "at_least": 2}, False),
    ({"quantity": "pair", "at_least": [1, 1]}, True),
    ({"quantity": "pair", "at_most": [3, 3, 3]}, False),
    ({"quantity": "x", "steps": "all", "equals": "k**2"}, True),
    ({"quantity": "x", "steps": "all", "equals": "k"}, False),
    ({"quantity": "x", "mean_from": 2, "equals": 6.5}, True),
    ({"quantity": "x", "mean_from": 9, "equals": 6.5}, False),
    ({"quantity": "steps", "equals": 3}, True),
    ({"quantity": "status", "equals": "converged"}, True),
    ({"quantity": "nothing", "equals": 1}, False),
]


@pytest.mark.parametrize(("claim", "holds"), HELD, ids=[str(claim) for claim, _ in HELD])
def test_a_claim_is_held_against_what_was_found(claim: dict[str, Any], holds: bool) -> None:
    check_form([claim])
    (checked,) = check_claims([claim], ANSWER, COLUMNS, OUTCOME)
    assert checked.holds is holds


WRONG = [
    (5, "names a quantity"),
    ({"quantity": "value"}, "names a quantity"),
    ({"quantity": "value", "equals": 1, "at_most": 2}, "names a quantity"),
    ({"quantity": "value", "equals": 1, "nope": 2}, "nope"),
    ({"quantity": 3, "equals": 1}, "quantity"),
    ({"quantity": "value", "equals": None}, "number or a formula"),
    ({"quantity": "value", "equals": {"a": 1}}, "number or a formula"),
    ({"quantity": "value", "equals": True}, "number or a formula"),
    ({"quantity": "value", "equals": "f(x)"}, "Known: sin"),
    ({"quantity": "value", "at_most": "few"}, "unknown name"),
    ({"quantity": "value", "at_most": [[1, 2], [3]]}, "one length"),
    ({"quantity": "value", "equals": 1, "within": "much"}, "within"),
    ({"quantity": "value", "equals": 1, "within": -1}, "within"),
    ({"quantity": "value", "equals": 1, "within": float("nan")}, "within"),
    ({"quantity": "x", "equals": 1, "steps": "few"}, "steps"),
    ({"quantity": "x", "same_as": "y", "steps": "all"}, "same_as"),
    ({"quantity": "x", "equals": "j", "steps": "all"}, "unknown name"),
    ({"quantity": "x", "equals": 1, "mean_from": 1.5}, "mean_from"),
    ({"quantity": "x", "same_as": 3}, "same_as"),
]


@pytest.mark.parametrize(("claim", "phrase"), WRONG, ids=[str(claim) for claim, _ in WRONG])
def test_a_claim_of_a_wrong_form_is_refused(claim: Any, phrase: str) -> None:
    with pytest.raises(UserError, match=phrase):
        check_form([claim])
