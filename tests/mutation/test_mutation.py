"""The sample of mutants: what is changed and what is left alone, the same for a seed, and put into what is imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("cosmic_ray")
SOURCE = '''"""Toy."""
import functools

LIMIT = 3


@functools.lru_cache(maxsize=4)
def area(a: int | None, b: int = 2) -> int:
    if a is None:
        return 0
    return a * b + LIMIT


class Box:
    size: float = 1.5

    def far(self, x):
        return [k for k in range(x) if k > self.size and not k - 1 == x]
'''


@pytest.fixture(scope="module")
def scripts() -> tuple[ModuleType, ModuleType]:
    """mutants.py and warm.py, which import each other by name."""
    found = []
    for name in ("mutants", "warm"):
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None  # noqa: PT018
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        del sys.modules[name]
        found.append(module)
    return found[0], found[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "calclab" / "toy").mkdir(parents=True)
    (tmp_path / "calclab" / "toy" / "box.py").write_text(SOURCE)
    return tmp_path


def test_what_a_person_could_have_slipped_in(scripts, tree: Path) -> None:
    code, _ = scripts
    every = {(m.before, m.after) for seed in range(60) for m in code.sample(tree, ("toy",), 40, 1, seed)}
    lines = {" ".join(after.split()) for _, after in every}
    for wanted in (
        "LIMIT = 4",
        "if False:",
        "if a is not None:",
        "return a / b + LIMIT",
        "return a * b - LIMIT",
        "return a * b",
        "return a + LIMIT",
        "def area(a: int | None, b: int = 1) -> int:",
        "size: float = 2.5",
        "return [k for k in range(x) if k >= self.size and not k - 1 == x]",
        "return [k for k in range(x) if k > self.size or not k - 1 == x]",
        "return [k for k in range(x) if k > self.size and k - 1 == x]",
    ):
        assert wanted in lines, wanted
    assert not any("lru_cache" in before for before, _ in every)  # decorators
    assert not any("int & None" in after for _, after in every)  # annotations


def test_the_same_for_a_seed_and_no_place_twice(scripts, tree: Path) -> None:
    code, _ = scripts
    one, two = ([(m.spec, m.source) for m in code.sample(tree, ("toy",), 12, 1, 7)] for _ in range(2))
    assert one == two
    assert len({(spec.start_pos, spec.end_pos) for spec, _ in one}) == len(one) == 12


def test_functions_are_changed_where_they_are_and_constants_are_not(scripts, tree: Path, monkeypatch) -> None:
    _, warm = scripts
    monkeypatch.chdir(tree)
    file = "calclab/toy/box.py"
    spec = importlib.util.spec_from_file_location("toy_box", tree / file)
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    box, area = toy.Box(), toy.area
    assert warm.put(file, SOURCE.replace("a * b + LIMIT", "a * b - LIMIT"))
    assert area(5) == 7
    assert warm.put(file, SOURCE.replace("k > self.size", "k < self.size"))
    assert box.far(4) == [0, 1]
    for changed in (SOURCE.replace("LIMIT = 3", "LIMIT = 4"), SOURCE.replace("= 1.5", "= 2.5"), SOURCE):
        assert not warm.put(file, changed)
