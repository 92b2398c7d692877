"""Command lines made of wrong words, from a grammar: every one is refused in a line, and leaves nothing behind.

The grammar knows of each knob its type and range, and writes values that are neither; of each group, what is no name;
and how words can be put together that no run can have. It is seeded: a line that fails here fails again.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from calclab.app import main
from calclab.schema import Knob, catalogue

LINES = 150
ANYTHING = [
    "[1,2",
    "{a: 1",
    "'x",
    '"',
    "${nope}",
    "${",
    "${oc.env:CALCLAB_NO_SUCH_NAME}",
    "${nope:1}",
    "[[]",
    "a:b:{",
    "$x,",
]
NO_NUMBER = ["fast", "[1,2]", "{a: 1}", "true", "", "nan", "inf", "-inf", "1e400", "'1'", "λ", "²", "1,2", "range(1,9)",
             "glob(*)", "interval(0,1)", "choice(1,2)", "9" * 30, "9" * 5000, "[]", "{}", "0x1g", "1.2.3"]  # fmt: skip
NO_COUNT = ["1.5", "1e3", str(2**63), str(-(2**70))]
NO_TRUTH = ["maybe", "5", "[true]", "{a: true}", "", "yes", "0"]
NO_TEXT = ["[a]", "{a: b}", "[]"]
NO_LIST = ["x", "5", "{a: 1}", "true", ""]
NO_MAPPING = ["x", "5", "[1]", "true", ""]
NO_NAME = [
    "null",
    "5",
    "[a,b]",
    "{a: 1}",
    "",
    "true",
    "1.5",
    "no_such_name",
    "../config",
    "a/../b",
    "rosenbrock.yaml",
    "λ",
]
KINDS = {float: NO_NUMBER, int: [*NO_NUMBER, *NO_COUNT], bool: NO_TRUTH, str: NO_TEXT, list: NO_LIST, dict: NO_MAPPING}
WRONG_CLAIMS = [
    "5",
    "null",
    "x",
    "{a: 1}",
    "[5]",
    "[x]",
    "[{}]",
    "[{quantity: loss}]",
    "[{equals: 1}]",
    "[{quantity: 3, equals: 1}]",
    "[{quantity: loss, equals: 1, at_most: 2}]",
    "[{quantity: loss, equals: 1, nope: 2}]",
    "[{quantity: loss, equals: 1, within: x}]",
    "[{quantity: loss, equals: 1, within: -1}]",
    "[{quantity: loss, equals: 1, steps: few}]",
    "[{quantity: loss, equals: null}]",
    "[{quantity: loss, equals: {a: 1}}]",
    "[{quantity: loss, at_most: word}]",
    "[{quantity: loss, equals: [a, {b: c}]}]",
    "[{quantity: loss, equals: 'f(x)'}]",
    "[{quantity: loss, mean_from: a, equals: 1}]",
    "[{quantity: loss, same_as: 3}]",
    "[{quantity: loss, at_most: [[1], 2]}]",
    "[{quantity: x, steps: all, equals: 'j'}]",
    "[{quantity: x, steps: all, same_as: y}]",
    "[{quantity: loss, equals: '__import__(1)'}]",
]
OPTIONS = [(group, option) for group in catalogue.PARTS for option in catalogue.options(group)]
TEXTS = ("layer", "target", "na", "separator", "expr", "links", "outputs")  # whatever is typed is a text
ASIDE = ("callable", "settings", "own")  # not looked at before something else is missing


def wrong_values(knob: Knob) -> list[str]:
    """Values that the knob cannot have; empty where it may have any."""
    kind = typing.get_origin(knob.base) or knob.base
    if knob.name in (*TEXTS, *ASIDE) or kind not in KINDS:
        return []
    found = [*KINDS[kind], *ANYTHING]
    if not knob.optional:
        found.append("null")
    if knob.choices:
        found += ["no_such_choice", "5"]
    if knob.above is not None or knob.at_least is not None:
        found += ["-1", "-0.001"]
    if knob.above is not None:
        found.append(f"{knob.above:g}")
    if knob.at_most is not None:
        found.append(f"{knob.at_most + 1:g}")
    return found


def places(rng: random.Random) -> tuple[list[str], str, Knob]:
    """Words that make a knob be there, its key, and the knob."""
    while True:
        if rng.random() < 0.5:
            topic = rng.choice(catalogue.options("topic"))
            name, knob = rng.choice(list(catalogue.root_knobs(topic).items()))
            return [f"topic={topic}"], name, knob
        group, option = rng.choice(OPTIONS)
        with_it = {"network": ["data=iris"], "data": ["network=mlp"], "line_search": ["optimizer=lbfgs"]}.get(group, [])
        if found := list(catalogue.knobs(group, option).items()):
            name, knob = rng.choice(found)
            return [f"{group}={option}", *with_it], f"{group}.{name}", knob


def lines(seed: int) -> Iterator[list[str]]:
    """Command lines of which each has one thing wrong."""
    rng = random.Random(seed)
    while True:
        words, key, knob = places(rng)
        values = wrong_values(knob)
        group = rng.choice(catalogue.GROUPS)
        wrong = rng.choice(
            [
                *([[f"{rng.choice(['', '++'])}{key}={rng.choice(values)}"]] * 12 if values else []),
                *([["-m", f"{key}={rng.choice(values)},{rng.choice(values)}"]] * 2 if values else []),
                [f"{group}={rng.choice(NO_NAME)}"],
                [f"{group}={rng.choice(NO_NAME)}"],
                ["-m", f"{group}={rng.choice(NO_NAME)},{rng.choice(NO_NAME)}"],
                [f"+{rng.choice(['nope', 'lrr', 'x.y', key + '_'])}={rng.choice(['1', '[1]', '{a: 1}', 'x'])}"],
                [f"{rng.choice(['nope', 'lrr', 'x.y', key + '.z', key + '_'])}=1"],
                [f"~{rng.choice(['topic', 'seed', 'outputs', 'nope', key])}"],
                [
                    rng.choice(
                        [
                            key,
                            "=",
                            "=5",
                            ":",
                            "",
                            "-x",
                            "--nope",
                            "[]",
                            "{}",
                            "a b",
                            "λ",
                            f"{key}:1",
                            "'",
                            "==",
                            "a=b=c",
                        ]
                    )
                ],
                [rng.choice(["hydra=5", "hydra.nope=1", "hydra.run=3", "hydra/launcher=nope", "hydra/launcher=5"])],
                ["-m", f"seed=range(0,{10 ** rng.randrange(9, 30)})"],
                [
                    "-m",
                    f"lr={rng.choice(['glob(*)', 'range(1,2,0)', 'logspace(0,1,3)', 'linspace(0,1,-1)', 'choice()'])}",
                ],
                [f"claims={rng.choice(WRONG_CLAIMS)}"],
                [f"outputs={rng.choice(['', 'null', '[1]', '{a: 1}'])}"],
            ]
        )
        if key.partition(".")[0] == group or (key == "seed" and wrong[0].lstrip("+").startswith("seed")):
            continue  # the words before would be told first, or be right
        yield [*words, *wrong]


def refused(status: int, message: str, place: Path) -> list[str]:
    """What a refusal lacks."""
    told = message.strip()
    left = [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]
    return [
        what
        for what, true in {
            f"exit {status}": status != 2,
            f"said {told!r}": not told.startswith("calclab: ") or len(told.splitlines()) != 1,
            f"{len(told)} characters": len(told) > 700,
            "a traceback": "Traceback" in told,
            "control characters": not told.isprintable(),
            f"left {left[:3]}": bool(left),
        }.items()
        if true
    ]


def test_every_line_of_wrong_words_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    faults = {}
    made = lines(int(os.environ.get("CALCLAB_WORDS_SEED", "0")))
    for _ in range(int(os.environ.get("CALCLAB_WORDS", LINES))):
        words = next(made)
        monkeypatch.setattr("sys.argv", ["calclab"])
        try:
            status = main(words)
        except BaseException as crash:
            status, words = -1, [*words, repr(crash)]
        if found := refused(status, capsys.readouterr().err, tmp_path):
            faults[shlex.join(words)[:300]] = found
            for made_one in tmp_path.iterdir():
                shutil.rmtree(made_one)
    assert not faults, "\n".join(f"{line}\n    {found}" for line, found in faults.items())


@pytest.mark.parametrize("optimised", ["", "1", "2"])
def test_so_it_is_of_the_command_itself(tmp_path: Path, optimised: str) -> None:
    """In a process of its own, with assertions and docstrings taken out too."""
    made = lines(7)
    for words in [next(made), next(made), ["topic=descent", "lr=-1"]]:
        command = [sys.executable, "-m", "calclab", *words]
        environment = os.environ | {"PYTHONOPTIMIZE": optimised}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
        assert not refused(done.returncode, done.stderr, tmp_path), words
