"""The frames of a run's folder, as pandas reads them without losing a bit.

``scalars.csv`` and ``<name>.csv`` begin with the step, ``<name>.<k>.csv`` and ``<name>.<k>.parquet`` with the names of
the rows. A name may itself hold dots, so what a file is, is read from its header. Any other CSV is a table of its own,
one line an observation, as topics leave them (``table.csv``).
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.errors import UserError
from calclab.text import of_cell

if TYPE_CHECKING:
    import pandas as pd

PICTURES = (".png", ".svg", ".pdf")
OWN = ("scalars", "verify")
EXACT = (3, 1)  # the first pandas that reads floats to the last bit unasked
TEXTS = ("feature", "method", "target")  # columns of a table that are words, even where these are digits
MATRIX = re.compile(r"(?P<name>.+)\.(?P<step>\d+)\.(?P<kind>csv|parquet)")


def names(folder: Path) -> dict[str, list[str]]:
    """See `Run.names`."""
    return {
        "scalars": header(folder / "scalars.csv")[1:],
        "trajectories": sorted(trajectories(folder)),
        "matrices": sorted(matrices(folder)),
        "tables": sorted(tables(folder)),
        "pictures": sorted({path.stem for path in folder.iterdir() if path.suffix in PICTURES}),
    }


def scalars(folder: Path) -> pd.DataFrame:
    return read(folder / "scalars.csv", "scalars.csv", index_col=0)


def verify(folder: Path) -> pd.DataFrame:
    return read(folder / "verify.csv", "verify.csv", keep_default_na=False, na_values=["nan"])


def trajectory(folder: Path, name: str) -> pd.DataFrame:
    found = trajectories(folder)
    path = found.get(name) or found.get(stem(name))
    if path is None:
        raise missing("trajectory", name, sorted(found))
    return read(path, name, index_col=0)


def steps(folder: Path, name: str) -> list[int]:
    return sorted(written(folder, name))


def matrix(folder: Path, name: str, step: int | None) -> pd.DataFrame:
    found = written(folder, name)
    k = max(found) if step is None else step
    if k not in found:
        raise missing("matrix", f"{name} at step {k}", [f"it at step {known}" for known in sorted(found)])
    path = found[k]
    return read_parquet(path) if path.suffix == ".parquet" else read(path, name, index_col=0)


def table(folder: Path, name: str) -> pd.DataFrame:
    path = tables(folder).get(name)
    if path is None:
        raise missing("table", name, sorted(tables(folder)))
    texts = {column: str for column in header(path) if column in TEXTS}
    return read(path, name, keep_default_na=False, na_values=[""], dtype=texts)


def tables(folder: Path) -> dict[str, Path]:
    """The files that are neither trajectories nor matrices, by name."""
    paths = (path for path in folder.glob("*.csv") if path.stem not in OWN)
    return {path.stem: path for path in paths if header(path)[:1] not in (["step"], [""], [])}


def trajectories(folder: Path) -> dict[str, Path]:
    """The trajectories by the name of their file."""
    paths = (path for path in folder.glob("*.csv") if path.stem not in OWN)
    return {path.stem: path for path in paths if header(path)[:1] == ["step"]}


def matrices(folder: Path) -> dict[str, dict[int, Path]]:
    """The matrices by the name of their file, then by step."""
    found: dict[str, dict[int, Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        parts = MATRIX.fullmatch(path.name)
        if parts and (parts["kind"] == "parquet" or header(path)[:1] == [""]):
            found.setdefault(parts["name"], {})[int(parts["step"])] = path
    return found


def written(folder: Path, name: str) -> dict[int, Path]:
    """The files of one matrix by step."""
    found = matrices(folder)
    files = found.get(name) or found.get(stem(name))
    if files is None:
        raise missing("matrix", name, sorted(found))
    return files


def header(path: Path) -> list[str]:
    """The first line's cells; empty where there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [of_cell(name) for name in next(csv.reader(file), [])]
    except (OSError, ValueError, csv.Error):
        return []


def stem(name: str) -> str:
    """How a file is called for a value: as the CSV sink does it."""
    return re.sub(r"[^\w.+\-\[\]()]+", "_", name).lstrip(".")


def read(path: Path, name: str, **options: Any) -> pd.DataFrame:
    """A CSV; floats are the very ones that were written."""
    import pandas as pd

    if tuple(map(int, pd.__version__.split(".")[:2])) < EXACT:
        options["float_precision"] = "round_trip"
    try:
        return unguarded(pd.read_csv(path, **options))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}: nothing of {name} was written.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error


def unguarded(frame: pd.DataFrame) -> pd.DataFrame:
    """The texts of a CSV as they were before `text.cell` guarded them."""

    def text(value: Any) -> Any:
        return of_cell(value) if isinstance(value, str) else value

    words = frame.select_dtypes(["object", "string"]).columns
    frame = frame.assign(**{name: frame[name].map(text) for name in words}).rename(columns=text)
    return frame.rename(index=text) if frame.index.dtype.kind not in "iuf" else frame


def read_parquet(path: Path) -> pd.DataFrame:
    """A matrix in Parquet: the names of its rows are the index, or else the first column, whose name is empty."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    if len(frame.columns) and frame.columns[0] == "":
        frame = frame.set_index("").rename_axis(None)
    return frame


def missing(what: str, name: str, known: list[str]) -> UserError:
    """The error for a name that a run does not have."""
    there = f"There {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else "It has none"
    return UserError(f"this run has no {what} {name!r}. {there}.")
