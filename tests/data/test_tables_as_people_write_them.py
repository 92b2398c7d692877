"""Small tables as people write them, drawn from a seed with their truth: what is read is what was meant, or it is
refused in a line that says what to type."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.core import Data
from calclab.data.table import table
from calclab.errors import UserError

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": "cpu", "seed": 0}
KNOBS: dict[str, Any] = {
    "features": None, "categories": None, "missing": "drop", "na": None, "separator": None, "header": True,
    "memory": 2.0, "task": "auto", "rows": None, "standardize": False, "held_out": 0.0,
}  # fmt: skip
WORDS = ("None", "NA", "N/A", "n/a", "null", "NULL")
Column = tuple[list[str], list[float | str | None] | str]  # as written, and what each means, or why it is refused


def read(path: Path, target: str = "y", **given: Any) -> Data:
    return table(**{**KNOBS, "path": str(path), "target": target, **given}, **PLACE)


# --- columns, each with its truth ---


def numbers(draw: random.Random, n: int) -> Column:
    found = [round(draw.uniform(-50, 50), draw.choice([0, 1, 3])) for _ in range(n)]
    return [f"{x:g}" for x in found], found


def gaps(draw: random.Random, n: int) -> Column:
    """Numbers with a gap, written in one of many ways."""
    texts, found = numbers(draw, n)
    at = draw.randrange(n)
    return [draw.choice((*WORDS, "", "NaN", "#N/A")) if i == at else t for i, t in enumerate(texts)], [
        None if i == at else x for i, x in enumerate(found)
    ]


def words(draw: random.Random, n: int) -> Column:
    """Categories, among which are words that elsewhere stand for nothing."""
    values = [draw.choice(WORDS), "Grvl", "Pave"]
    found = [values[i % 3] for i in range(n)]
    draw.shuffle(found)
    return found, list(found)


def countries(draw: random.Random, n: int) -> Column:
    found = [draw.choice(["NA", "ZA", "BW"]) for _ in range(n - 3)] + ["NA", "ZA", "BW"]
    return found, list(found)


def truths(draw: random.Random, n: int) -> Column:
    yes, no = draw.choice([("True", "False"), ("true", "false"), ("TRUE", "FALSE")])
    found = [draw.random() < 0.5 for _ in range(n - 2)] + [True, False]
    return [yes if x else no for x in found], [float(x) for x in found]


def commas(draw: random.Random, n: int) -> Column:
    """Decimal commas, with one number at least that cannot be read otherwise."""
    found = [round(draw.uniform(-50, 50), 2) for _ in range(n - 1)] + [0.5]
    return [f"{x:.2f}".replace(".", ",") for x in found], found


def thousands(draw: random.Random, n: int) -> Column:
    """Marks between thousands; one number is so large that nothing else is meant."""
    mark, point = draw.choice([(",", "."), (".", ","), (" ", "."), ("'", "."), ("\u00a0", ","), ("\u202f", ",")])
    found = [float(draw.randint(1000, 999999)) + draw.choice([0.25, 0.5]) for _ in range(n - 1)] + [1234567.5]
    return [f"{x:,.2f}".replace(",", "_").replace(".", point).replace("_", mark) for x in found], found


def unclear(draw: random.Random, n: int) -> Column:
    return [f"{draw.randint(1, 9)},{draw.randint(100, 999)}" for _ in range(n)], "thousands or decimals"


def units(draw: random.Random, n: int) -> Column:
    form = draw.choice(["{}%", "{} %", "${}", "€ {}", "{} €", "EUR {}", "{} kr"])
    return [form.format(round(draw.uniform(1, 90), 1)) for _ in range(n)], "units"


def dates(draw: random.Random, n: int) -> Column:
    form = draw.choice(
        [
            "{y}-{m:02d}", "{y}-{m:02d}-{d:02d}", "{d}.{m}.{y}", "{m}/{d}/{y}", "{m:02d}/{y}", "{y}/{m:02d}", "Mar {y}",
            "{d} Mar {y}", "Mar {d}, {y}", "{y}-{m:02d}-{d:02d}T12:30:00Z", "{d}-Mar-{y}", "Mon, {d} Mar {y} 10:00",
            "{y}Q3", "{y}-W07",
        ]
    )  # fmt: skip
    days = [form.format(y=draw.randint(1949, 2023), m=draw.randint(1, 12), d=draw.randint(13, 28)) for _ in range(n)]
    if draw.random() < 0.3:
        days[draw.randrange(n)] = draw.choice(("NA", "None", ""))
    return days, "holds dates"


def ids(draw: random.Random, n: int) -> Column:
    found = [f"{draw.choice('ABC')}{k:04d}-{draw.randint(10, 99)}" for k in range(n)]
    return found, "different texts"


def mixed(draw: random.Random, n: int) -> Column:
    return [str(k) for k in range(n - 1)] + [draw.choice(["?", "-", "x12", "unknown"])], "holds numbers and texts"


def empty(draw: random.Random, n: int) -> Column:
    return [draw.choice(["", "NA"])] * n, [None] * n


READ = (numbers, gaps, words, countries, truths, commas, thousands, empty)
REFUSED = (unclear, units, dates, ids, mixed)


def written(path: Path, columns: dict[str, list[str]], draw: random.Random) -> None:
    """With any separator, quotes where they are needed or everywhere, any end of a line, and any mark at its start."""
    mark, end, always = draw.choice(",;\t|"), draw.choice(["\n", "\r\n"]), draw.random() < 0.3

    def cell(text: str) -> str:
        quoted = always or mark in text or '"' in text or (draw.random() < 0.1 and text)
        return '"' + text.replace('"', '""') + '"' if quoted else text + " " * (draw.random() < 0.1)

    lines = [mark.join(map(cell, row)) for row in [list(columns), *zip(*columns.values(), strict=True)]]
    path.write_bytes((end.join(lines) + end).encode(draw.choice(["utf-8", "utf-8-sig", "utf-16"])))


def named(draw: random.Random, number: int) -> str:
    return draw.choice(["größe", "a b", "x;y", "p,q", 'say "it"', "v", "2019", "a.1"]) + f" {number}"


def told(data: Data, name: str, rows: list[int]) -> list[Any]:
    """A column as it was read: its numbers, or of each row the category."""
    at = [i for i, column in enumerate(data.columns) if column == name]
    if data.features[at[0]] == name:
        return [data.inputs[:, at[0]].tolist()[row] for row in rows]
    picked = data.inputs[:, at].argmax(1).tolist()
    return [data.features[at[picked[row]]].removeprefix(f"{name}=") for row in rows]


@pytest.mark.parametrize("seed", range(60))
def test_what_is_read_is_what_was_meant(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    n, path = draw.randint(12, 40), tmp_path / "t.csv"
    columns, truth = {}, {}
    for number in range(draw.randint(1, 5)):
        name, make = named(draw, number), draw.choice(READ)
        columns[name], truth[name] = make(draw, n)
    columns["base 9"], truth["base 9"] = numbers(draw, n)
    columns["y"] = [f"{k / 7:.6f}" for k in range(n)]
    written(path, columns, draw)
    na = any("NA" in cells and any(x is None for x in truth[name]) for name, cells in columns.items() if name in truth)
    kept = [k for k in range(n) if all(v[k] is not None for v in truth.values() if any(x is not None for x in v))]
    code = [name for name, values in truth.items() if "NA" in values] if na else []  # NA means two things in this table
    data = read(path, categories=code or None)
    assert data.places is not None
    assert data.places.tolist() == kept
    assert data.targets.flatten().tolist() == [float(columns["y"][k]) for k in kept]
    for name, values in truth.items():
        if any(value is not None for value in values):
            assert told(data, name, list(range(len(kept)))) == [values[k] for k in kept], name
        else:
            assert name not in data.columns
            assert any("without any value" in note for note in data.notes)


@pytest.mark.parametrize("make", REFUSED)
@pytest.mark.parametrize("seed", range(12))
def test_what_cannot_be_an_input_is_refused_by_its_name(tmp_path: Path, make: Callable[..., Column], seed: int) -> None:
    """And the line to type leaves the others as they are."""
    draw = random.Random(seed)
    n, path = draw.randint(12, 30), tmp_path / "t.csv"
    cells, reason = make(draw, n)
    columns = {"good": numbers(draw, n)[0], "bad": cells, "y": [f"{k / 7:.6f}" for k in range(n)]}
    written(path, columns, draw)
    with pytest.raises(UserError) as error:
        read(path)
    assert f"bad {reason}" in str(error.value) or (str(reason) in str(error.value) and "bad " in str(error.value))
    assert "data.features='[good]'" in str(error.value)
    assert len(read(path, features=["good"]).inputs) == n


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_a_category_until_the_user_says_otherwise(tmp_path: Path, word: str) -> None:
    path, rows = tmp_path / "t.csv", [word] * 33 + ["Grvl"] * 4 + ["Pave"] * 3
    path.write_text("alley,y\n" + "".join(f"{text},{k / 3}\n" for k, text in enumerate(rows)))
    data = read(path)
    assert len(data.inputs) == 40
    assert f"alley={word}" in data.features
    assert any(f"data.na={word}" in note for note in data.notes)
    assert len(read(path, na=word).inputs) == 7
    assert f"{word}" in read(path, target="alley", features=["y"]).classes


def test_what_stands_for_a_gap_among_numbers_does_so_in_other_columns(tmp_path: Path) -> None:
    """As R writes it; a column of codes is named, and NA is one of them."""
    path = tmp_path / "t.csv"
    path.write_text(
        "size,code,y\n" + "".join(f"{'NA' if k == 3 else k},{'NA' if k % 3 else 'ZA'},{k / 3}\n" for k in range(12))
    )
    data = read(path)
    assert "code=NA" not in data.features
    assert any("data.categories" in note and "code" in note for note in data.notes)
    assert "code=NA" in read(path, categories=["code"]).features


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1] * 4, True), ([1, 2, 3] * 4, True), ([3, 4], True), (list(range(12)), False),
        ([*range(15), 3, 4], False), (list(range(20)) * 2, True), (list(range(21)) * 4, False), ([0.5, 1.5] * 5, False),
    ],
)  # fmt: skip
def test_whole_numbers_are_classes_where_each_has_rows(tmp_path: Path, values: list[float], classes: bool) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "".join(f"{k / 7},{v}\n" for k, v in enumerate(values)))
    data = read(path)
    assert data.classification == classes
    if values != [0.5, 1.5] * 5:
        few = len(set(values)) <= 20
        assert any(f"data.task={'regression' if classes else 'classification'}" in n for n in data.notes) == (
            classes or few
        )


@pytest.mark.parametrize("blank", [" ", "   "])
def test_blanks_between_columns(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(
        "".join(blank.join(row) + "\n" for row in (["a", "b", "y"], *(["1", "2.5", str(k)] for k in range(9))))
    )
    with pytest.raises(UserError, match=r"data\.separator=' '"):
        read(path)
    assert read(path, separator=" ").features == ("a", "b")


def test_a_table_without_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("".join(f"{k / 7:.3f},{k * 1.5},{'ab'[k % 2]}\n" for k in range(8)))
    for target in ("z", "2"):
        with pytest.raises(UserError, match=r"data\.header=false"):
            read(path, target)
    data = read(path, "2", header=False)
    assert (len(data.inputs), data.features, data.classes) == (8, ("0", "1"), ("a", "b"))
    with pytest.raises(UserError, match=r"data\.header=false"):
        table(**{**KNOBS, "path": str(path), "target": None}, **PLACE)
    assert any("data.header=false" in note for note in read(path, "a").notes)


def test_years_as_names_are_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("2019,2020,2021\n" + "".join(f"{k},{k * 2},{k / 3}\n" for k in range(8)))
    data = read(path, "2021")
    assert data.features == ("2019", "2020")
    assert not any("header" in note for note in data.notes)


@pytest.mark.parametrize("text", ["a,y\n1,2.5\n", "a;y\r\n1;2\r\n"])
def test_a_single_row_teaches_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"one value only|one class only"):
        read(path)


def test_names_in_quotes_do_not_choose_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('"a, b, c";y\n' + "".join(f'"1,5";{k / 3}\n' if k % 2 else f"2;{k / 3}\n" for k in range(6)))
    data = read(path)
    assert data.features == ("a, b, c",)
    assert data.inputs.flatten().tolist() == [2, 1.5] * 3


@pytest.mark.parametrize("hint", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_line_in_which_excel_names_the_separator_is_no_row(tmp_path: Path, hint: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{hint}\na;y\n" + "".join(f"{k},5;{k / 3}\n" for k in range(6)))
    assert read(path).inputs.flatten().tolist() == [k + 0.5 for k in range(6)]
