"""What is made of attributions, of values made by hand: no run is needed to ask how far a ranking is to be trusted."""

from __future__ import annotations

import pytest
import torch

from calclab.attribution import METHODS as ENGINES
from calclab.topic.importance import trust
from calclab.topic.importance.attributions import Findings, shares, standard_error
from calclab.topic.importance.methods import BY_ROW, METHODS, OF_CODES, OF_FUNCTIONS, SIZES
from calclab.topic.importance.perturbations import counts
from calclab.topic.importance.ranks import ranks

torch.set_num_threads(1)
ROWS = torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + torch.arange(5.0)


def found(**parts: object) -> Findings:
    """Of three methods by row and permutation importance."""
    methods = ("gradient", "shapley", "permutation", "ablation")
    return Findings(methods, ("gradient", "shapley", "ablation"), torch.arange(0, 40, 4), **{"rows": ROWS, **parts})


def test_importance_is_the_mean_size_of_the_first_method() -> None:
    some = found()
    torch.testing.assert_close(some.sizes, ROWS[0].abs())
    torch.testing.assert_close(some.by_method, ROWS.abs().mean(1))  # permutation is left out: it was not reached
    own = torch.rand(1, 5, dtype=torch.float64)
    torch.testing.assert_close(found(permutation=own).by_method[2], own[0])  # in the order in which they are asked for


def test_trainings_are_held_against_the_same_rows() -> None:
    lost, again = {"importance": torch.full((5,), torch.nan)}, {"importance": torch.rand(5, dtype=torch.float64)}
    by_training = found(trainings=(lost, again)).by_training
    assert by_training is not None
    torch.testing.assert_close(by_training[0], ROWS[0, ::4].abs().mean(0))
    torch.testing.assert_close(by_training[1:], again["importance"][None])
    assert found(trainings=(lost,)).by_training is None


@pytest.mark.parametrize(("rows", "enough"), [(9, False), (10, True)])
def test_few_rows_are_not_ranked(rows: int, enough: bool) -> None:
    assert found(rows=ROWS[:, :rows]).rankable is enough
    assert not found(rows=ROWS.clone().fill_(torch.nan)).rankable


def test_permutation_importance_is_ranked_over_trainings_alone() -> None:
    alone = Findings(("permutation",), (), torch.arange(0), permutation=torch.rand(1, 5))
    assert not alone.rankable
    several = Findings(
        ("permutation",), (), torch.arange(0), permutation=torch.rand(1, 5), trainings=({"importance": torch.rand(5)},)
    )
    assert several.rankable


def test_the_error_of_a_mean() -> None:
    torch.testing.assert_close(standard_error(ROWS[0]), ROWS[0].var(0).div(40).sqrt())
    assert bool(standard_error(ROWS[0, :1]).isnan().all())
    assert shares(ROWS[0]).abs().sum(-1).allclose(torch.ones(40, dtype=torch.float64))


@pytest.mark.parametrize(("sign", "word"), [(1, ""), (-1, " (the ranking is one of this training, not of the data)")])
def test_trainings_agree_or_not(sign: int, word: str) -> None:
    first = torch.arange(1.0, 6.0)
    text, values = trust.stability(torch.stack([first, sign * first]), lost=2)
    assert text == f"rank correlation {sign:.2f}{word}, and 2 trainings left the finite numbers"
    assert float(values["stability"]) == pytest.approx(sign)


def test_of_few_columns_a_correlation_is_a_number_and_no_sentence() -> None:
    text, values = trust.stability(torch.rand(3, 3), lost=0)
    assert (text, list(values)) == ("", ["stability"])
    text, values = trust.agreement(torch.rand(2, 3), ("gradient", "shapley"))
    assert (text, list(values)) == ("", ["agreement"])


def test_the_methods_that_agree_least_are_named() -> None:
    means = torch.tensor([[1.0, 2, 3, 4, 5], [1, 2, 3, 5, 4], [5, 4, 3, 2, 1]])
    text, values = trust.agreement(means, ("gradient", "shapley", "ablation"))
    assert text == "they disagree: rank correlation -1.00 of gradient with ablation, the lowest"
    assert float(values["least_agreement"]) == pytest.approx(-1)


def test_a_gap_is_told_beside_the_change_that_it_is_missing_from() -> None:
    change, gaps = torch.tensor([4.0, -8.0]), torch.tensor([[0.5, -2.0], [torch.nan, 0.0]])
    sums, missed = change + gaps, torch.tensor([True, False])
    text, values = trust.completeness(sums, gaps, missed, ("integrated_gradients", "gradient"))
    assert float(values["completeness_gap_integrated_gradients"]) == pytest.approx(2 / 8)
    assert text == "integrated_gradients 2.5e-01, integrated_gradients missed its tolerance on some rows"


@pytest.mark.parametrize("better", [True, False])
def test_an_order_is_held_against_chance(better: bool) -> None:
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    chance = torch.stack([1 - x, x], -1)
    own = torch.stack([(1 - x) ** 2, 1 - (1 - x) ** 2], -1) if better else chance
    text, values = trust.deletion_areas(torch.stack([own, chance], 1), counts(5), ("shapley", "random"))
    assert ("no better than chance" in text) is not better
    assert float(values["deletion_area_random"]) == pytest.approx(0.5)
    assert float(values["deletion_area_shapley"] + values["insertion_area_shapley"]) == pytest.approx(1)


@pytest.mark.parametrize(("far", "word"), [(0.2, "passed"), (0.9, "failed")])
def test_what_does_not_notice_new_weights_is_named(far: float, word: str) -> None:
    text, values = trust.randomisation(torch.tensor([0.0, far]), ("gradient", "shapley"), features=50)
    assert f"test {word}" in text
    assert ("shapley (0.90)" in text) is (word == "failed")
    assert list(values) == ["randomised_gradient", "randomised_shapley"]


def test_scores_without_columns_stand_beside_those_without_any_others() -> None:
    text, values = trust.removal(torch.tensor([[0.5, 0.75]]), [0.25], "accuracy")
    assert text == "trained without the most important 25% of the columns 0.5 (any others 0.75) in accuracy"
    assert (float(values["roar_0.25"]), float(values["roar_0.25_random"])) == (0.5, 0.75)


def test_it_is_told_over_what_ranks_are_distinguishable() -> None:
    rows = torch.randn(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).abs() * 0.01
    known = ranks(rows + torch.arange(5.0), None, 200, 0)
    text, values = trust.known_ranks(known, rows=200, trainings=3)
    assert text.startswith("all 5 ranks are distinguishable")
    assert int(values["distinguishable ranks"]) == 5
    assert "over 200 rows and 3 trainings" in text


def test_what_values_mean_is_known_of_every_method() -> None:
    assert set(METHODS) == set(ENGINES)
    assert {*OF_FUNCTIONS, *SIZES} <= set(BY_ROW)
    assert set(OF_CODES) <= set(METHODS)
