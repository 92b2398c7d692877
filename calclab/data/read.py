"""A CSV or Parquet file as a pandas frame, with every way it can fail told in a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.data.columns import HEADERLESS, is_number
from calclab.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = {".parquet", ".pq"}
CSV = {".csv", ".tsv", ".txt", ".tab", ".dat", ".data"}
SEPARATORS = ",;\t|"


def read(path: str, na: str | None = None, separator: str | None = None) -> pd.DataFrame:
    """The table in the file ``path``, relative to the current directory; columns by their names as texts."""
    import pandas as pd

    file = Path(path).expanduser()
    if file.is_dir():
        raise UserError(f"data.path={path} is a folder. Type the path of a CSV or Parquet file in it")
    if not file.is_file():
        raise UserError(f"data.path={path}: there is no such file (looked in {Path.cwd()}). Type the path of a table")
    inner = Path(file.stem) if file.suffix in {".gz", ".bz2", ".xz", ".zip"} else file
    if inner.suffix.lower() not in PARQUET | CSV:
        raise UserError(f"data.path={path}: a CSV or Parquet file is needed, whose name ends in .csv or .parquet")
    try:
        if inner.suffix.lower() in PARQUET:
            frame = pd.read_parquet(file)
        else:
            marks = [] if na is None else [na]
            sep = separator or guess(file, inner == file)
            how: dict[str, Any] = {"sep": sep, "skipinitialspace": True, "encoding": "utf-8-sig"}
            frame = stripped(pd.read_csv(file, na_values=marks, **how))
            # names as they stand, where pandas changes twins
            first = pd.read_csv(file, header=None, nrows=1, dtype=str, **how)
            names = [] if len(first.columns) != len(frame.columns) else [str(name).strip() for name in first.iloc[0]]
    except UnicodeDecodeError as error:
        raise UserError(f"data.path={path}: its text is not in UTF-8. Save the table as UTF-8") from error
    except Exception as error:  # whatever the readers raise, the file is at fault
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"data.path={path}: the file cannot be read as a table: {reason}") from error
    if not len(frame) or not len(frame.columns):
        raise UserError(f"data.path={path}: the table is empty ({len(frame)} rows, {len(frame.columns)} columns)")
    if not frame.index.equals(pd.RangeIndex(len(frame))) and inner.suffix.lower() not in PARQUET:
        raise UserError(f"data.path={path}: its rows have more fields than its first line has names. Name every column")
    frame.columns = [str(name).strip() for name in frame.columns]
    if inner.suffix.lower() in PARQUET:
        names = list(frame.columns)
    if repeated := sorted({name for name in names if names.count(name) > 1 and name != "nan"}):
        advice = "Rename one of them"
        if all(map(is_number, names)):
            advice = HEADERLESS
        raise UserError(f"data.path={path}: two columns are called {repeated[0]}. {advice}")
    if na is not None and inner.suffix.lower() in PARQUET:
        frame = frame.mask(frame.astype(object) == na)
    return frame


def stripped(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts without the blanks around them, which would make two categories of one."""
    texts = frame.select_dtypes(["object", "string"]).columns
    return frame.assign(**{name: frame[name].map(lambda v: v.strip() if isinstance(v, str) else v) for name in texts})


def guess(file: Path, plain: bool) -> str:
    """The separator that is most frequent in the first line; of a packed file, the comma."""
    if not plain:
        return ","
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = lines.readline()
    return max(SEPARATORS, key=first.count)
