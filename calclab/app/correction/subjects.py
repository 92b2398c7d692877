"""What is given in the place of a name: a file, a folder, a class, a formula, or an option under another name.

Files are looked at, never run: of a table the names of its columns, of a module those of its classes and functions.
"""

from __future__ import annotations

import ast
import csv
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from calclab.schema import aliases, catalogue

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".data")
ARRAYS = (".npz", ".npy")
TENSORS = (".pt", ".pth", ".safetensors", ".ckpt", ".bin")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+")
FORMULA = re.compile(r"[\w\s.,+*/^()\[\]<>=|-]+")
WRITTEN = re.compile(
    r"\*\*|[+*^()]|(?<![a-z_\d])\d+[a-z]|[a-z0-9] *- *[a-z0-9]"
)  # what a formula has, and a name has not
ASKED = 50  # modules in a folder that are looked at
SHORTEST = 4  # letters of a name that may be a part of another
Words = list[str]


def of(word: str) -> Words:
    """A word by itself: what it may be chosen by; empty where nobody knows."""
    for group in catalogue.GROUPS:
        if found := option(group, word):
            return [f"{group}={found}"]
    suffix = os.path.splitext(word)[1].lower()
    if suffix in (*TABLES, *ARRAYS) or (suffix in TENSORS and os.path.exists(word)) or os.path.isdir(word):
        return data(word)
    if DOTTED.fullmatch(word):
        return code("network" if word.rpartition(".")[2][:1].isupper() else "function", word)
    if WRITTEN.search(word) and FORMULA.fullmatch(word) and re.search("[a-z]", word):
        return [f"function.expr={word}"]
    return []


def chosen(group: str, value: str) -> Words:
    """The words for ``group=value``, where value is no option of it; empty where nobody knows."""
    if group in ("network", "function") and value != value.lower() and defined(value):
        return code(group, value)
    if found := option(group, value):
        return [f"{group}={found}"]
    if group == "experiment":
        return study(value)
    if (called := re.match(r"(\w+)[(\[]", value)) and (found := option(group, called[1])):  # rosenbrock(2), mlp[64,64]
        return [f"{group}={found}"]
    for other in ("topic", *catalogue.PARTS):
        if value in catalogue.options(other) and value not in ("custom", "linear"):
            return [f"{other}={value}"]
    suffix = os.path.splitext(value)[1].lower()
    if group == "data" and (suffix in (*TABLES, *ARRAYS, *TENSORS) or os.path.isdir(value)):
        return data(value)
    if group == "network" and suffix in TENSORS:
        return ["network=mlp", f"network.weights={value}"]
    if suffix == ".py" or DOTTED.fullmatch(value):
        return code(group, value)
    if group == "function" and WRITTEN.search(value) and FORMULA.fullmatch(value):
        return [f"function.expr={value}"]
    near = catalogue.close(value.lower(), catalogue.options(group))
    return [f"{group}={near}"] if near else []


def option(group: str, value: str) -> str:
    """The option of a group that a name is: by its letters alone, or by what others call it; empty for none."""
    wanted = aliases.plain(value) if not DOTTED.fullmatch(value) else value
    same = (name for name in catalogue.options(group) if aliases.plain(name) == wanted)
    return next(same, "") or aliases.OPTIONS[group].get(wanted, "")


def study(value: str) -> Words:
    """A study by the end of its name, a folder of studies by all that are in it, else the nearest."""
    names = catalogue.options("experiment")
    value = value.removesuffix(".yaml").removesuffix(".yml").strip("/").removeprefix("experiments/")
    if value in names:
        return [f"experiment={value}"]
    if folder := next((name for name in names if name.startswith(f"{value}/")), ""):
        return ["-m", f"experiment=glob({folder.rpartition('/')[0]}/*)"]
    if len(value) >= SHORTEST and (inside := [name for name in names if value.lower() in name.rpartition("/")[2]]):
        return [f"experiment={inside[0]}"]
    ends = {name.rpartition("/")[2]: name for name in names}
    near = catalogue.close(value, names) or ends.get(catalogue.close(value, ends), "")
    return [f"experiment={near}"] if near else []


def data(path: str) -> Words:
    """The words for rows in a file or a folder."""
    suffix = os.path.splitext(path)[1].lower()
    path = path if os.path.exists(path) else near_file(path) or path
    if os.path.isdir(path):
        images = any(entry.suffix.lower() in IMAGES for entry in within(path))
        tables = any(entry.suffix.lower() in TABLES for entry in Path(path).iterdir())
        return [*(["data=table"] if tables and not images else ["data=folder"]), f"data.path={path}"]
    if suffix in (*ARRAYS, *TENSORS):
        return ["data=arrays", f"data.path={path}"]
    return ["data=table", f"data.path={path}", f"data.target={target(path)}"]


def within(folder: str) -> Iterator[Path]:
    """What lies in the first folders of a folder."""
    for entry in sorted(Path(folder).iterdir())[:ASKED]:
        yield from sorted(entry.iterdir())[:ASKED] if entry.is_dir() else (entry,)


def columns(path: str) -> list[str]:
    """The columns of a CSV file, as its first line names them; empty where none are read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            head = file.readline(10_000)
        return [name.strip() for name in next(csv.reader([head], csv.Sniffer().sniff(head, ",;\t|")))]
    except (OSError, ValueError, csv.Error, StopIteration):
        return []


def target(path: str) -> str:
    """The last column of a table, which most often is the one to predict; a name for the reader's own where none is
    read."""
    return next(reversed(columns(path)), "") or "COLUMN"


def column(name: str, path: str) -> str:
    """The column of a table that is nearest to a name that is none; empty where it is one, or none is near."""
    there = columns(path)
    if not there or name in there:
        return ""
    lower = {each.lower(): each for each in there}
    return lower.get(catalogue.close(name.lower(), lower), "")


def near_file(path: str) -> str:
    """The file beside a path, of the same kind, whose name is nearest; empty where none is."""
    folder, name = os.path.split(path)
    try:
        beside = os.listdir(folder or ".")
    except OSError:
        return ""
    suffix = os.path.splitext(name)[1].lower()
    same = [entry for entry in beside if os.path.splitext(entry)[1].lower() == suffix]
    near = difflib.get_close_matches(name, same, n=1, cutoff=0.6)
    return os.path.join(folder, near[0]) if near else ""


def code(group: str, value: str) -> Words:
    """The words for a class or a function of the user's: my_net.Net, my_net:Net, my_net.py, or Net alone."""
    if value.endswith(".py"):
        module = value.removesuffix(".py").strip("./").replace("/", ".")
        names = definitions(Path(value), group)
        path = f"{module}.{names[0] if names else 'Name'}"
    else:
        path = value.replace(":", ".") if DOTTED.fullmatch(value) else defined(value)
    return [f"{group}._target_={path}"]


def own(group: str, path: str) -> str:
    """The class or function of a module in this folder that a dotted path was probably to name; empty where the path
    is right, or nobody knows."""
    module, _, name = path.rpartition(".")
    if not module:
        module, name = path, ""
    files = {found.stem: found for found in sorted(Path().glob("*.py"))[:ASKED]}
    stem = module if module in files or "." in module else catalogue.close(module, files, 0.75)
    names = definitions(files[stem], group) if stem in files else []
    if not names or (stem == module and name in definitions(files[stem])):
        return ""
    near = (
        name
        if name in names
        else catalogue.close(name, names, 0.5) or (names[0] if not name or len(names) == 1 else "")
    )
    return f"{stem}.{near}" if near else ""


def defined(name: str) -> str:
    """module.name, where a module in this folder defines what is called so; empty where none does."""
    if not name.isidentifier():
        return ""
    for path in sorted(Path().glob("*.py"))[:ASKED]:
        if name in definitions(path):
            return f"{path.stem}.{name}"
    return ""


def definitions(path: Path, group: str = "") -> list[str]:
    """The classes and functions that a module defines; of a network the classes, of a function the functions."""
    kinds = {"network": (ast.ClassDef,), "function": (ast.FunctionDef,)}.get(group, (ast.ClassDef, ast.FunctionDef))
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and isinstance(node, kinds)]
