"""A study that cannot be read, or that is none: one line, exit status 2, nothing built, nothing run, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from calclab.app.studies import LARGEST, unfolded

HEAD = b"# @package _global_\n"


def bomb(levels: int, many: int) -> bytes:
    """Lists of names for lists of names: ``many`` to the power of ``levels`` entries."""
    lines = [b"a0: &a0 [%s]" % b",".join([b"x"] * many)]
    lines += [b"a%d: &a%d [%s]" % (i, i, b",".join([b"*a%d" % (i - 1)] * many)) for i in range(1, levels)]
    return b"\n".join(lines) + b"\n"


STUDIES = {
    "an error": (b"lr: [1, 2\n", "no YAML"),
    "a tag": (b"lr: !!python/object/apply:os.mkdir [outputs]\n", "no tags"),
    "a tag of ones own": (b"lr: !rate 3\n", "no tags"),
    "latin-1": ("lr: 0.1  # é\n".encode("latin-1"), "UTF-8"),
    "utf-16": ("lr: 0.1\n".encode("utf-16"), "UTF-8"),
    "a zero byte": (b"lr: 0.1\0\n", "no YAML"),
    "a bomb": (bomb(9, 10), "unfolds"),
    "a bomb of mappings": (bomb(9, 10).replace(b"[", b"{x: [").replace(b"]", b"]}"), "unfolds"),
    "itself": (b"a: &a [*a]\n", "within what it names"),
    "brackets": (b"a: " + b"[" * 100_000, "unfolds"),
    "a list": (b"- 1\n", "merge"),
    "a number": (b"5\n", "int"),
    "twice": (b"lr: 1\nlr: 2\n", "duplicate"),
    "two of them": (b"lr: 1\n---\nlr: 2\n", "single document"),
    "a knob that is none": (b"lrr: 1\n", "lr"),
    "a key that is a number": (b"1: 2\n", "no such knob"),
    "no defaults": (b"defaults: topic\n", "defaults"),
    "no such topic": (b"defaults:\n  - override /topic: nope\n", "nope"),
    "itself among its defaults": (b"defaults:\n  - /experiment: mine\n", "itself"),
    "a topic that is a text": (b"topic: descent\n", "topic is chosen by a name"),
    "claims that are none": (b"claims: 5\n", "claims is a list"),
    "a claim of a wrong form": (b"claims: [{quantity: loss, equals: 1, within: much}]\n", "within"),
    "a number too long": (b"seed: " + b"9" * 9000, "digits"),
    "a text with a zero": (b'outputs: "a\\0b"\n', "outputs is a text"),
}


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_that_is_none_is_told_in_a_line(lab, study: str, tmp_path: Path) -> None:
    text, phrase = STUDIES[study]
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_bytes(text if study == "utf-16" else HEAD + text)
    result = lab("experiment=mine")
    assert result.status == 2, result.out + result.err
    assert phrase in result.err
    assert result.err.startswith("calclab: ")
    assert result.err.count("\n") == 1
    assert len(result.err) < 700
    assert not (tmp_path / "outputs").exists()


def test_help_lists_a_study_that_cannot_be_read(lab, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_bytes("# Das Tal für Anfänger\nlr: 1\n".encode("latin-1"))
    result = lab("--help experiment")
    assert result.status == 0
    assert "Das Tal f" in result.out


@pytest.mark.parametrize(("levels", "many"), [(1, 7), (3, 4), (4, 6)])
def test_what_a_study_unfolds_to_is_counted_without_unfolding_it(levels: int, many: int) -> None:
    def nodes(value: object) -> int:
        if isinstance(value, dict):
            return 1 + sum(1 + nodes(entry) for entry in value.values())
        return 1 + (sum(map(nodes, value)) if isinstance(value, list) else 0)

    text = bomb(levels, many)
    assert unfolded(yaml.parse(text, yaml.CSafeLoader)) == nodes(yaml.safe_load(text)) < LARGEST
