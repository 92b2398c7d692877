"""Importance of the columns of a table that no one prepared, as a user types it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

FILES = Path(__file__).parent.parent / "data_files"
QUICK = "train=40 retrains=3 bootstrap=50 samples=4"


@pytest.fixture
def penguins(tmp_path: Path) -> Path:
    shutil.copy(FILES / "penguins.csv", tmp_path)
    shutil.copy(FILES / "penguins-raw.csv", tmp_path)
    return tmp_path


def folder(place: Path) -> Path:
    (path,) = (place / "outputs").rglob("outcome.json")
    return path.parent


def test_penguins_by_species(lab, penguins: Path) -> None:
    result = lab(f"topic=importance network=mlp data=table data.path=penguins.csv data.target=species {QUICK}")
    assert result.status == 0, result.err + result.out
    assert re.search(r"held out +\S+% right .* on 333 rows", result.out)
    for sentence in (
        "matters most",
        "confidence",
        "trained without them",
        "methods",
        "deletion",
        "randomisation",
    ):
        assert sentence in result.out
    place = folder(penguins)
    table = pd.read_csv(place / "table.csv")
    assert list(table.columns) == ["row", "feature", "method", "target", "value", "error"]
    assert len(table) == 333 * 7 * 3
    assert set(table["feature"]) == set(pd.read_csv(penguins / "penguins.csv").columns) - {"species"}
    names = {path.name for path in place.glob("*.png")}
    assert names >= {"importance.png", "dependence.png", "shares_by_row.png", "deletion.png"}
    assert names >= {"agreement_of_methods.png", "randomisation_test.png", "shares_by_method.png"}
    (ranking,) = place.glob("ranking.*.csv")
    ranks = pd.read_csv(ranking, index_col=0)
    assert (ranks["low"] <= ranks["ranked_by"]).all()
    assert (ranks["ranked_by"] <= ranks["high"]).all()
    assert (ranks["rank_first"] <= ranks["rank"]).all()
    assert (ranks["rank"] <= ranks["rank_last"]).all()
    verify = pd.read_csv(place / "verify.csv")
    assert set(verify["verdict"]) <= {"consistent"}


def test_body_mass_in_grams(lab, penguins: Path) -> None:
    line = "topic=importance network=linear data=table data.path=penguins.csv data.target=body_mass_g train=400"
    result = lab(f"{line} target=body_mass_g method=[gradient,shapley] retrains=0 bootstrap=50 samples=4 figures=false")
    assert result.status == 0, result.err + result.out
    table = pd.read_csv(folder(penguins) / "table.csv")
    slopes = table[(table["method"] == "gradient") & (table["feature"] == "flipper_length_mm")]["value"]
    assert slopes.std() < 1e-9 * slopes.abs().mean()  # a linear network has one slope
    assert 5 < slopes.iloc[0] < 40  # grams for a millimetre of flipper


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data.path=penguins-raw.csv data.target=Species data.missing=mean", "Date Egg holds dates"),
        ("data.path=penguins.csv data.target=specie", "data.target=species"),
        ("data.path=penguins.csv data.target=species method=gradients", "method=gradient"),
        ("data.path=penguins.csv data.target=species method=[]", "a method, or a list"),
        ("data.path=penguins.csv data.target=species baseline=ones", "the baselines are"),
        ("data.path=penguins.csv data.target=species target=weight", "there is loss, predicted"),
        ("data.path=penguins.csv data.target=species rows=400", "333 rows"),
        ("data.path=penguins.csv data.target=species retrains=-1", "retrains=-1"),
        ("data.path=penguins.csv data.target=species data.categories=[years]", "Did you mean year"),
        ("data.path=penguins.csv data.target=species roar=[7]", "roar=[7]"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(lab, penguins: Path, words: str, message: str) -> None:
    result = lab(f"topic=importance network=mlp data=table train=2 {words}")
    assert result.status == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (penguins / "outputs").exists()


def test_what_the_refusal_says_to_type_works(lab, penguins: Path) -> None:
    line = "topic=partial network=linear data=table data.path=penguins-raw.csv data.target=Species data.missing=mean"
    refused = lab(f"{line} figures=false")
    advice = refused.err[refused.err.index("data.features=") :].strip()
    result = lab(f"{line} figures=false {advice}")
    assert result.status == 0, result.err + result.out


def test_one_method_by_its_name(lab, tmp_path: Path) -> None:
    line = f"topic=importance data=iris method=integrated_gradients trust=false figures=false {QUICK}"
    assert lab(line).status == 0
    record = json.loads((folder(tmp_path) / "outcome.json").read_text())
    assert record["status"] == "completed"
    with (folder(tmp_path) / "table.csv").open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"integrated_gradients"}


def test_the_units_of_a_layer_are_ranked(lab, penguins: Path) -> None:
    start = "topic=importance network=mlp data=table data.path=penguins.csv data.target=species"
    result = lab(f"{start} method=conductance target=predicted {QUICK}")
    assert result.status == 2
    assert "conductance needs a layer. mlp has the layers hidden.0" in result.err
    result = lab(f"{start} method=conductance layer=hidden.0 target=predicted network.width=5 rows=40 {QUICK}")
    assert result.status == 0, result.err + result.out
    assert re.search(r"held out +\S+% right .* on 333 rows", result.out)
    assert re.search(r"answer +hidden\.0\[\d\] matters most", result.out)
    assert re.search(r"measure +mean \|conductance of predicted class\| over 40 rows", result.out)
    table = pd.read_csv(folder(penguins) / "table.csv")
    assert set(table["feature"]) == {f"hidden.0[{i}]" for i in range(5)}
    assert set(table["target"]) <= {"Adelie", "Chinstrap", "Gentoo"}
    assert (table["error"] >= 0).all()
    names = {path.name for path in folder(penguins).glob("*.png")}
    assert names >= {"importance.png", "shares_by_row.png", "randomisation_test.png"}
    assert "deletion.png" not in names


def test_words_that_the_shell_passes_and_zeros_of_standardised_inputs(lab, tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},5;{i % 3};{i % 2}" for i in range(40))
    (tmp_path / "t.csv").write_text(f"a b;c;2020\n{rows}\n")
    line = (
        "topic=importance network=mlp network.width=4 data=table data.path=t.csv data.target=2020 train=5 trust=false"
    )
    result = lab(f"{line} data.separator=';' target='y1 - y0' method=gradient baseline=zeros figures=false")
    assert result.status == 0, result.err
    assert "mean |∂(y1 - y0)/∂x|" in result.out
    assert "baseline=zeros is the mean here" in result.out
    assert lab(f"{line} target=1 method=gradient figures=false").status == 0
    refused = lab(f"{line} data.task=regression baseline=class.1 method=ablation figures=false")
    assert refused.status == 2
    assert "Type baseline=mean" in refused.err
