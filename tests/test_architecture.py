"""The shape of the code is a test: arrows between packages never point back, and start-up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "calclab"
ALLOWED = {
    "errors": set(),
    "text": set(),
    "lines": set(),
    "terminal": {"lines", "text"},
    "schema": {"errors", "text"},
    "core": {"errors", "lines"},
    "numerics": {"core", "errors"},
    "data": {"core", "errors", "schema", "text"},
    "network": {"errors", "schema", "core"},
    "optimizer": {"core", "errors", "schema", "numerics"},
    "subject": {"core", "errors", "schema", "network", "numerics"},
    "second_order": {"core", "errors", "numerics", "network", "subject"},
    "attribution": {"core", "errors", "numerics", "subject"},
    "laws": {"core", "errors", "schema", "numerics", "network", "optimizer", "subject"},
    "topic": {
        *("laws", "core", "errors", "schema", "numerics", "subject", "optimizer", "second_order", "attribution"),
        "text",
    },
    "testing": {"checks"},
    "checks": {"core", "errors", "lines", "numerics", "subject", "network", "second_order", "terminal"},
    "drive": {"core"},
    "together": {"core", "drive", "optimizer", "topic"},
    "checkpoint": {"core", "grown"},
    "grown": set(),
    "archive": {"errors", "text"},
    "runs": {"errors", "archive", "text"},
    "sink": {"archive", "core", "errors", "figure", "report", "text"},
    "figure": {"core"},
    "report": {"archive", "core", "errors", "lines", "text"},
    "difference": {"archive", "errors", "figure", "lines", "report", "terminal", "text"},
    "study": {"core", "errors", "numerics", "schema", "subject", "text"},
    "watch": {
        *("app", "archive", "core", "errors", "lines", "network", "numerics", "optimizer", "report", "second_order"),
        *("library", "sink", "subject", "terminal", "text", "topic"),
    },
    "lightning": {"errors", "watch"},
    "huggingface": {"errors", "watch"},
}
FOREIGN = {  # which libraries only some packages may know
    "hydra": {"app"},
    "omegaconf": {"app"},
    "sympy": set(),  # torch brings it; it takes as long as it likes
    "flint": {"subject"},
    "pandas": {"data", "archive", "sink", "library", "watch", "checks"},
    "sklearn": {"data"},
    "matplotlib": {"figure"},
    "tensorboard": {"sink"},
    "captum": {"attribution"},
    "bokeh": {"figure"},
    "jinja2": {"report"},
    "latex2mathml": {"report"},
    "lightning": {"lightning"},
    "transformers": {"huggingface"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_forward(path: Path) -> None:
    here = layer(path)
    names = imported(path)
    inner = {name.split(".")[1] for name in names if name.startswith("calclab.")}
    if here in ALLOWED:
        assert inner <= ALLOWED[here] | {here}, f"{here} reaches back to {sorted(inner - ALLOWED[here] - {here})}"
    for name in names:
        root = name.split(".")[0]
        assert here in FOREIGN.get(root, {here}), f"{here} may not know {root}"


def test_every_package_has_its_place() -> None:
    places = {layer(path) for path in FILES} - {"app", "library", "__init__", "__main__", "rerun"}
    assert places <= set(ALLOWED)


def test_help_needs_no_torch_and_no_hydra() -> None:
    code = (
        "import sys; from calclab.app.help import page; page([])\n"
        "print(*(m for m in ('torch', 'hydra') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_looks_for_no_place_and_no_version() -> None:
    code = "import sys; from calclab.app.help import page; page([]); print('calclab.app.place' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


ON_DEVICES = ("attribution", "network", "numerics/jacobian", "optimizer", "second_order", "subject/network", "subject")
COMPUTING = {path for part in ON_DEVICES for path in (PACKAGE / part).glob("*.py")}  # formulas are proven on the CPU


@pytest.mark.parametrize("path", sorted(COMPUTING), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_devices_without_float64_are_asked_for_none(path: Path) -> None:
    """mps has none: sums are taken in `core.values.wide` there."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [node.lineno for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "double"]


def test_no_heavy_import_before_it_is_needed() -> None:
    code = (
        "import sys; import calclab.app.compose, calclab.app.build, calclab.app.words\n"
        "print(*(m for m in ('sympy', 'flint', 'pandas', 'sklearn', 'matplotlib', 'tensorboard') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_run_of_a_network_needs_no_compiler(tmp_path: Path) -> None:
    """Torch imports all of it for a mode that says nothing about it (`core.mode`), which doubled a start."""
    code = (
        "import sys; from calclab.app import main\n"
        "main('topic=descent network=mlp data=iris steps=2 figures=false'.split())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False"


# --- circles ---


def edges(path: Path) -> set[str]:
    """The files of the package that a file imports, wherever in it: at once, late, or for its types."""
    found = set()
    package = path.relative_to(PACKAGE.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            for stem in (parts, parts[:-1]):  # a module, or a name within one
                place = PACKAGE.parent.joinpath(*stem)
                if stem and stem[0] == "calclab" and (file := file_of(place)):
                    found.add(str(file.relative_to(PACKAGE)))
                    break
    return found - {str(path.relative_to(PACKAGE))}


def file_of(place: Path) -> Path | None:
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of files that reach each other (strongly connected components of more than one)."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in graph.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reach = {name: reached(name) for name in graph}
    return {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}


def test_no_files_import_each_other() -> None:
    files = [path for path in FILES if path != PACKAGE / "__init__.py"]  # the list of public names
    found = circles({str(path.relative_to(PACKAGE)): edges(path) for path in files})
    assert not found, "\n".join(" <-> ".join(sorted(circle)) for circle in found)


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == {frozenset("bc")}
