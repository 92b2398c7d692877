"""A CSV or Parquet file as a pandas frame, with every way it can fail told in a line."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.data.kinds import ALWAYS
from calclab.data.parts import SUFFIXES, dataset, parts_of
from calclab.errors import UserError
from calclab.text import is_number

if TYPE_CHECKING:
    import pandas as pd

CSV = {".csv", ".tsv", ".txt", ".tab", ".dat", ".data"}
PACKED = {".gz", ".bz2", ".xz", ".zip"}
SEPARATORS = ",;\t|"
BLANKS = r"\s+"
SEEN = 20  # lines that are looked at to find the separator
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
HEADERLESS = "Its first line seems to hold numbers: type data.header=false (columns are then called 0, 1, 2, ...)"


def read(path: str, na: str | None = None, separator: str | None = None, header: bool = True) -> pd.DataFrame:
    """The table in the file ``path``, relative to the current directory; columns by their names as texts, or by their
    numbers where it has no ``header``. A ``separator`` of blanks stands for any number of them."""
    import pandas as pd

    file, parts = Path(path).expanduser(), parts_of(path)
    if file.is_dir() and not parts:
        raise UserError(
            f"data.path={path} is a folder, and holds no parts of a Parquet table. Type the path of a CSV or Parquet "
            "file in it"
        )
    if not file.is_file() and not parts:
        raise UserError(f"data.path={path}: there is no such file (looked in {Path.cwd()}). Type the path of a table")
    inner = Path(file.stem) if file.suffix in PACKED else file
    parquet = bool(parts) or inner.suffix.lower() in SUFFIXES
    if not parquet and inner.suffix.lower() not in CSV:
        raise UserError(f"data.path={path}: a CSV or Parquet file is needed, whose name ends in .csv or .parquet")
    lines: list[str] = []
    try:
        if parquet:
            frame = dataset(path).to_table().to_pandas() if parts else pd.read_parquet(file)
            names = [str(name).strip() for name in frame.columns]
        else:
            encoding = encoding_of(file)
            lines = first_lines(file, encoding) if inner == file else []
            named = re.fullmatch(r'"?sep=(.)"?', lines[0].strip(), re.IGNORECASE) if lines else None
            if named:  # as Excel writes it, and no line of the table
                lines, separator = lines[1:], separator or named[1]
            sep = BLANKS if separator is not None and separator and not separator.strip(" ") else separator
            how: dict[str, Any] = {"sep": sep or guess(lines), "skipinitialspace": True, "encoding": encoding}
            if named:
                how["skiprows"] = 1
            if len(str(how["sep"])) == 1:
                how["low_memory"] = False  # a column is of one kind from its first to its last row
            marks = [*ALWAYS, *([] if na is None else [na])]
            how["keep_default_na"] = False
            frame = stripped(pd.read_csv(file, na_values=marks, header=0 if header else None, **how), marks)
            # names as they stand, where pandas changes twins
            first = pd.read_csv(file, header=None, nrows=1, dtype=str, **how)
            names = [str(name).strip() for name in first.iloc[0]]
            names = names if header and len(names) == len(frame.columns) else []
    except UnicodeError as error:
        raise UserError(f"data.path={path}: its text is not in UTF-8. Save the table as UTF-8") from error
    except Exception as error:  # whatever the readers raise, the file is at fault
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = blank_hint(lines) if separator is None else ""
        raise UserError(
            f"data.path={path}: the file cannot be read as a table: {reason}. {hint}".strip(". ")
        ) from error
    if len(frame.columns) == 1 and separator is None and (hint := blank_hint(lines)):
        raise UserError(f"data.path={path}: one column was found, {lines[0].strip()!r}. {hint}")
    if not len(frame) or not len(frame.columns):
        raise UserError(f"data.path={path}: the table is empty ({len(frame)} rows, {len(frame.columns)} columns)")
    if not parquet and not frame.index.equals(pd.RangeIndex(len(frame))):
        raise UserError(f"data.path={path}: its rows have more fields than its first line has names. Name every column")
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    if repeated := sorted({name for name in names if names.count(name) > 1 and name not in ("nan", "")}):
        advice = HEADERLESS if headerless(names) else "Rename one of them"
        raise UserError(f"data.path={path}: two columns are called {repeated[0]}. {advice}")
    if na is not None and parquet:
        frame = frame.mask(frame.astype(object) == na)
    return frame


def stripped(frame: pd.DataFrame, marks: Sequence[str]) -> pd.DataFrame:
    """Texts without the blanks around them, which would make two categories of one; None for what is then a mark."""
    texts = frame.select_dtypes(["object", "string"]).columns
    gone = set(marks)

    def clean(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        value = value.strip()
        return None if value in gone else value

    for name in texts:
        frame[name] = frame[name].map(clean)
    return frame


def encoding_of(file: Path) -> str:
    """UTF-8, with or without a mark at its beginning, or the UTF-16 that spreadsheets write, by its mark."""
    with file.open("rb") as start:
        return BOMS.get(start.read(2), "utf-8-sig")


def first_lines(file: Path, encoding: str) -> list[str]:
    """The first lines that hold anything."""
    with file.open(encoding=encoding, errors="replace", newline="") as lines:
        return [line for line in islice(lines, SEEN) if line.strip()]


def guess(lines: Sequence[str]) -> str:
    """The separator of which all lines have the same number outside quotes, and most; of a packed file, the comma."""
    if not lines:
        return ","

    def fields(mark: str) -> list[int]:
        return [len(row) for row in csv.reader(lines, delimiter=mark, skipinitialspace=True)]

    counts = {mark: fields(mark) for mark in SEPARATORS}
    even = {mark: found[0] for mark, found in counts.items() if found[0] > 1 and len(set(found)) == 1}
    return max(even or {mark: found[0] for mark, found in counts.items()}, key=lambda mark: counts[mark][0])


def blank_hint(lines: Sequence[str]) -> str:
    """What to type where blanks, or another mark, separate the columns; empty where nothing does."""
    counts = {len(line.split()) for line in lines}
    if len(lines) > 1 and len(counts) == 1 and counts != {1}:
        return "If blanks separate its columns, type data.separator=' '"
    for mark in ":/~^&":
        if len({line.count(mark) for line in lines}) == 1 and lines and lines[0].count(mark):
            return f"If {mark} separates its columns, type data.separator='{mark}'"
    return ""


def headerless(names: Sequence[str]) -> bool:
    """Whether names look like a row of a table: half of them or more are numbers, which are no years."""
    return 2 * sum(is_number(name) and not re.fullmatch(r"(?:19|20)\d\d", name) for name in names) >= len(names)
