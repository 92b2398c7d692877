"""The user's own tables, with all that is found in them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from calclab.core import Data
from calclab.data.table import table
from calclab.errors import UserError

CSV = """age,colour,smoker,price
30,red,true,1.5
40,blue,false,2.5
50,red,true,4.0
60,green,false,8.25
"""


def made(path: Path | str | None, target: str | None = "price", **given: Any) -> Data:
    knobs = {
        "features": None,
        "categories": None,
        "missing": "drop",
        "na": None,
        "separator": None,
        "header": True,
        "memory": 2.0,
        "task": "auto",
        "rows": None,
        "standardize": False,
        "held_out": 0.0,
    }
    knobs |= {"path": None if path is None else str(path), "target": target, **given}
    return table(**knobs, dtype=torch.float64, device="cpu", seed=0)


def written(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_numbers_texts_and_booleans(tmp_path: Path) -> None:
    data = made(written(tmp_path, CSV))
    assert data.features == ("age", "colour=blue", "colour=green", "colour=red", "smoker")
    assert data.inputs.tolist() == [[30, 0, 0, 1, 1], [40, 1, 0, 0, 0], [50, 0, 0, 1, 1], [60, 0, 1, 0, 0]]
    assert data.targets.tolist() == [[1.5], [2.5], [4.0], [8.25]]
    assert (data.classes, data.classification) == (("price",), False)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    path = written(tmp_path, CSV)
    pd.read_csv(path).to_parquet(tmp_path / "t.parquet")
    one, other = made(path), made(tmp_path / "t.parquet")
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.targets, other.targets)
    assert one.features == other.features


def test_parquet_with_nullable_decimal_and_categorical_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3, 4], dtype="Int64"),
            "d": [Decimal("1.5"), Decimal("2.5"), Decimal(3), Decimal(4)],
            "c": pd.Categorical(["u", "v", "u", "u"]),
            "b": pd.array([True, False, False, True], dtype="boolean"),
            "price": [1.0, 2.0, 3.5, 4.0],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    data = made(tmp_path / "t.parquet", missing="mean")
    assert data.features == ("n", "d", "c=u", "c=v", "b")
    assert data.inputs[1].tolist() == [pytest.approx(8 / 3), 2.5, 0, 1, 0]
    assert made(tmp_path / "t.parquet").inputs[:, 0].tolist() == [1, 3, 4]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    assert len(made(written(tmp_path, CSV.replace(",", separator))).features) == 5


def test_relative_paths_start_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, CSV)
    monkeypatch.chdir(tmp_path)
    assert len(made("t.csv").inputs) == 4


def test_features_are_chosen_and_kept_in_order(tmp_path: Path) -> None:
    assert made(written(tmp_path, CSV), features=["smoker", "age"]).features == ("smoker", "age")


GAPS = "a,b,c,y\n1,u,,1.5\n,u,,2.5\n3,,,3.5\n8,v,,\n5,v,,0.25\n"


def test_missing_values_are_dropped_and_counted(tmp_path: Path) -> None:
    data = made(written(tmp_path, GAPS), "y")
    assert data.inputs[:, 0].tolist() == [1, 5]
    assert data.features == ("a", "b=u", "b=v")
    assert "columns without any value are left out: c" in data.notes
    assert data.notes[1].startswith("missing values in a (1), b (1), y (1): 3 of 5 rows dropped; most of them for a:")


def test_missing_values_are_filled(tmp_path: Path) -> None:
    data = made(written(tmp_path, GAPS), "y", missing="mean")
    assert data.inputs[:, 0].tolist() == [1, 3, 3, 5]  # the mean of 1, 3, 5: the row without a target is gone
    assert data.inputs[2, 1:].tolist() == [1, 0]
    assert "1 rows without a target dropped" in data.notes[1]


def test_what_is_put_in_is_of_the_rows_to_learn_from(tmp_path: Path) -> None:
    """Of the rows held out nothing goes into it, be it a mean, the most frequent text, category or boolean."""
    lines = [f"{3 ** (k % 7)},{'uvw'[k % 3]},{k % 4},{'true' if k % 5 else 'false'},{k * 0.37:.2f}" for k in range(60)]
    for k in (4, 17, 33, 50):
        lines[k] = f",,,,{k * 0.37:.2f}"
    path = written(tmp_path, "\n".join(["a,b,c,d,y", *lines]) + "\n")
    data = made(path, "y", missing="mean", held_out=0.4, categories=["c"])
    assert data.held_out is not None
    assert data.columns == ("a", "b", "b", "b", "c", "c", "c", "c", "d")
    numbers = {float(line.rpartition(",")[2]): k for k, line in enumerate(lines)}
    learned, held = ([numbers[round(float(y), 2)] for y in part.targets.flatten()] for part in (data, data.held_out))
    full = [k for k in learned if lines[k][0] != ","]
    true = [sum(3 ** (k % 7) for k in full) / len(full)]
    for count, digit in ((3, lambda k: k % 3), (4, lambda k: k % 4)):
        often = [sum(digit(k) == value for k in full) for value in range(count)]
        true += [float(value == often.index(max(often))) for value in range(count)]
    true.append(float(sum(k % 5 > 0 for k in full) > len(full) / 2))
    gone = [
        row
        for part, rows in ((data, learned), (data.held_out, held))
        for row, k in zip(part.inputs, rows, strict=True)
        if lines[k][0] == ","
    ]
    assert len(gone) == 4
    for row in gone:
        torch.testing.assert_close(row, torch.tensor(true, dtype=torch.float64))


def test_a_column_without_a_value_to_learn_from(tmp_path: Path) -> None:
    whole = made(
        written(tmp_path, "a,b,y\n" + "".join(f"{k},,{k}.5\n" for k in range(9)) + "9,7,9.5\n"), "y", missing="mean"
    )
    assert whole.inputs[:, 1].tolist() == [7.0] * 10
    with pytest.raises(UserError, match="b has no value in any of the 1 rows to learn from"):
        made(tmp_path / "t.csv", "y", missing="mean", held_out=0.9)


def test_missing_values_are_refused_on_request(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a \(1\), b \(1\), y \(1\).*data.missing=drop"):
        made(written(tmp_path, GAPS), "y", missing="error")


def test_no_row_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no row is left.*data.missing=mean"):
        made(written(tmp_path, "a,b,y\n1,,2.5\n,1,3.5\n"), "y")


def test_infinite_numbers_count_as_missing(tmp_path: Path) -> None:
    data = made(written(tmp_path, "a,y\n1,2.5\ninf,3.5\n2,0.5\n"), "y")
    assert data.inputs.flatten().tolist() == [1, 2]


def test_a_mark_for_missing_values(tmp_path: Path) -> None:
    path = written(tmp_path, "power,y\n100,1.5\n?,2.5\n120,3.5\n90,0.5\n")
    with pytest.raises(UserError, match=r"power holds numbers and texts such as '\?'.*data.na='\?'"):
        made(path, "y")
    assert made(path, "y", na="?").inputs.flatten().tolist() == [100, 120, 90]


@pytest.mark.parametrize(
    ("column", "task", "classes", "numbers"),
    [
        (["u", "v", "u"], "auto", ("u", "v"), [0, 1, 0]),
        (["true", "false", "true"], "auto", ("false", "true"), [1, 0, 1]),
        (["7", "3", "7"], "auto", ("3", "7"), [1, 0, 1]),
        (["0.5", "0.25", "0.5"], "classification", ("0.25", "0.5"), [1, 0, 1]),
    ],
)
def test_targets_that_are_classes(
    tmp_path: Path, column: list[str], task: str, classes: tuple[str, ...], numbers: list[int]
) -> None:
    text = "a,y\n" + "".join(f"{k},{value}\n" for k, value in enumerate(column))
    data = made(written(tmp_path, text), "y", task=task)
    assert (data.classes, data.targets.tolist(), data.classification) == (classes, numbers, True)


def test_targets_that_are_numbers(tmp_path: Path) -> None:
    few = written(tmp_path, "a,y\n1,7\n2,3\n")
    assert "data.task=regression" in made(few, "y").notes[0]
    assert made(few, "y", task="regression").targets.tolist() == [[7], [3]]
    many = written(tmp_path, "a,y\n" + "".join(f"{k},{3 * k}\n" for k in range(30)))
    assert not made(many, "y").classification


def test_dates_are_refused_with_advice(tmp_path: Path) -> None:
    path = written(tmp_path, "day,a,y\n2024-01-31,1,0.5\n2024-02-01,2,1.5\n")
    with pytest.raises(UserError, match=r"day holds dates.*data.features='\[a\]'"):
        made(path, "y")
    assert made(path, "y", features=["a"]).features == ("a",)
    frame = pd.DataFrame({"a": [1.0, 2.0], "t": pd.to_datetime(["2024-01-01", "2024-01-02"]), "y": [0.5, 1.5]})
    frame["d"] = [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t holds dates.*d holds dates"):
        made(tmp_path / "t.parquet", "y")
    with pytest.raises(UserError, match=r"data\.target=t holds dates"):
        made(tmp_path / "t.parquet", "t", features=["a"])


def test_names_and_lists_are_refused_all_at_once(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": [f"person {k}" for k in range(60)], "l": [[k] for k in range(60)], "a": range(60)})
    frame["y"] = frame["a"] / 7
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"name has 60 different texts.*l holds neither.*data.features='\[a\]'"):
        made(tmp_path / "t.parquet", "y")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "prise"}, "Did you mean price"),
        ({"target": None}, "data.target=price"),
        ({"features": ["age", "color"]}, r"data.features=color.*Did you mean colour"),
        ({"features": ["age", "price"]}, "holds the target"),
        ({"features": ["age", "age"]}, "twice"),
        ({"features": []}, "no column is left"),
        ({"target": "colour", "task": "regression"}, "holds texts"),
    ],
)
def test_wrong_columns(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(written(tmp_path, CSV), **given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n", "empty"),
        ("", "cannot be read"),
        ("a,y\n1,2\n3,4,5,6\n", "cannot be read"),
        ("a,y\n1,2,3\n4,5,6\n", "more fields"),
        ("a,y\n1,u\n2,u\n", "one class only"),
        ("a,y\n1,2.5\n2,2.5\n", "one value only"),
        ("a,y\n,2.5\n,3.5\n", "hold no values"),
        ("a,y\n" + "".join(f"{k},t{k}\n" for k in range(101)), "too many for classes"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(written(tmp_path, text), "y")


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a file"):
        made(None)
    with pytest.raises(UserError, match="no such file"):
        made(tmp_path / "gone.csv")
    with pytest.raises(UserError, match="is a folder"):
        made(tmp_path)
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        made(written(tmp_path, CSV, "t.xlsx"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        made(tmp_path / "bad.parquet")
    (tmp_path / "bad.csv").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(UserError):
        made(tmp_path / "bad.csv")


FILES = Path(__file__).parent.parent / "data_files"


def test_inputs_made_of_one_column_say_so(tmp_path: Path) -> None:
    data = made(written(tmp_path, CSV))
    assert data.columns == ("age", "colour", "colour", "colour", "smoker")


def test_numbers_can_stand_for_categories(tmp_path: Path) -> None:
    path = written(tmp_path, "plan,age,y\n1,30,0.5\n10,40,1.5\n2,50,2.5\n1,60,3.5\n")
    data = made(path, "y", categories=["plan"])
    assert data.features == ("plan=1", "plan=10", "plan=2", "age")
    assert data.columns == ("plan", "plan", "plan", "age")
    assert data.inputs[:, :3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    with pytest.raises(UserError, match="Did you mean plan"):
        made(path, "y", categories=["plam"])
    with pytest.raises(UserError, match="that is the target"):
        made(path, "y", categories=["y"])


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "rownames", "ID", "row_id"])
def test_a_column_that_only_counts_the_rows_is_left_out(tmp_path: Path, name: str) -> None:
    text = f"{name},a,y\n" + "".join(f"{k + 1},{k * k},{k / 7}\n" for k in range(9))
    data = made(written(tmp_path, text), "y")
    assert data.features == ("a",)
    assert "only counts the rows" in data.notes[0]
    kept = name or "Unnamed: 0"
    assert made(written(tmp_path, text), "y", features=[kept, "a"]).features == (kept, "a")


def test_a_column_that_counts_is_kept_where_its_name_says_more(tmp_path: Path) -> None:
    text = "time,a,y\n" + "".join(f"{k},{k * k},{k / 7}\n" for k in range(9))
    assert made(written(tmp_path, text), "y").features == ("time", "a")


@pytest.mark.parametrize("day", ["3 Jan 2024", "Jan 3, 2024", "2024-01-03 12:30", "3.1.24", "12:30", "january 2024"])
def test_dates_are_seen_however_they_are_written(tmp_path: Path, day: str) -> None:
    path = written(tmp_path, f"day;a;y\n{day};1;0.5\n{day};2;1.5\n")
    with pytest.raises(UserError, match="day holds dates"):
        made(path, "y")


def test_units_lead_back_to_the_users_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, CSV)
    plain, scaled = made(path), made(path, standardize=True)
    assert plain.units is None
    assert plain.target_units is None
    assert scaled.units is not None
    assert scaled.target_units is not None
    torch.testing.assert_close(scaled.units.shift + scaled.units.scale * scaled.inputs, plain.inputs)
    back = scaled.target_units.shift + scaled.target_units.scale * scaled.targets
    torch.testing.assert_close(back, plain.targets)


def test_penguins() -> None:
    data = made(FILES / "penguins.csv", "species")
    assert (len(data.inputs), data.classes) == (333, ("Adelie", "Chinstrap", "Gentoo"))
    assert sorted(set(data.columns)) == sorted(
        ["island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex", "year"]
    )
    assert len(made(FILES / "penguins.csv", "species", missing="mean").inputs) == 344
    assert not made(FILES / "penguins.csv", "body_mass_g").classification


def test_penguins_as_recorded_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"Individual ID has 190 .*Date Egg holds dates.*data\.features="):
        made(FILES / "penguins-raw.csv", "Species", missing="mean")
    data = made(
        FILES / "penguins-raw.csv", "Species", features=["Island", "Culmen Length (mm)", "Culmen Depth (mm)", "Sex"]
    )
    assert len(data.classes) == 3


def test_doctor_visits() -> None:
    data = made(FILES / "randhie.csv", "mdvis")
    assert (data.classification, len(data.features), len(data.inputs)) == (False, 9, 1010)


def test_twins_are_refused_though_pandas_renames_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two columns are called a"):
        made(written(tmp_path, "a,a,price\n1,2,0.5\n3,4,1.5\n"))
    with pytest.raises(UserError, match="first line seems to hold numbers"):
        made(written(tmp_path, "1,1,2\n1,2,0.5\n3,4,1.5\n"))
    with pytest.raises(UserError, match="first line seems to hold numbers"):
        made(written(tmp_path, "1,3,2\n1,2,0.5\n3,4,1.5\n"))
    assert made(written(tmp_path, "a,a.1,price\n1,2,0.5\n3,4,1.5\n")).features == ("a", "a.1")


def test_blanks_around_names_and_texts_are_nothing(tmp_path: Path) -> None:
    data = made(written(tmp_path, ' a , kind , price \n 1 , "x " , 0.5 \n 2 , " x" , 1.5 \n 3, y ,2.5\n'))
    assert data.features == ("a", "kind=x", "kind=y")
    assert data.inputs.tolist() == [[1, 1, 0], [2, 1, 0], [3, 0, 1]]


def test_a_decimal_comma(tmp_path: Path) -> None:
    data = made(written(tmp_path, "a;b;price\n1,5;7;-2,25\n-,5;8;1\n;9;3,5e2\n"), missing="mean")
    assert data.inputs.tolist() == [[1.5, 7], [-0.5, 8], [0.5, 9]]
    assert data.targets.tolist() == [[-2.25], [1], [350]]
    assert any("decimal comma: a, price" in note for note in data.notes)


def test_commas_that_may_mean_thousands_are_refused(tmp_path: Path) -> None:
    rows = "\n".join(f"1,{i:03d};{i}" for i in range(30))
    with pytest.raises(UserError, match="thousands or decimals"):
        made(written(tmp_path, f"a;price\n{rows}\n"))


def test_texts_that_are_hardly_classes_are_refused(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i}%" for i in range(30))
    with pytest.raises(UserError, match="hardly classes"):
        made(written(tmp_path, f"a,price\n{rows}\n"))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("größe,price\n1,2.5\n2,3.5\n".encode("latin-1"))
    with pytest.raises(UserError, match="Save the table as UTF-8"):
        made(path)


@pytest.mark.parametrize("how", [{}, {"rows": 12}, {"held_out": 0.25}, {"rows": 12, "held_out": 0.25}])
def test_rows_know_their_place_in_the_file(tmp_path: Path, how: dict[str, Any]) -> None:
    lines = [f"{'' if i % 5 == 2 else i},{i * i}" for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["x,price", *lines]), encoding="utf-8")
    data = made(tmp_path / "t.csv", **how)
    for part in (data, *([data.held_out] if data.held_out else [])):
        assert part.places is not None
        assert part.places.tolist() == part.inputs[:, 0].tolist()  # x is the number of the row
