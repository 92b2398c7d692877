"""Tab: what is offered is what may stand there, and it is right when it is typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calclab.app.commands import COMMANDS
from calclab.app.completion import offers
from calclab.schema import catalogue


def test_commands_stand_first_only() -> None:
    assert set(COMMANDS) <= set(offers("calclab "))
    assert not set(COMMANDS) & set(offers("calclab lr=0.1 "))


@pytest.mark.parametrize("group", [*catalogue.GROUPS, "hydra/launcher", "hydra/sweeper"])
def test_a_group_offers_its_choices(group: str) -> None:
    assert f"{group}=" in offers(f"calclab {group[:-2]}")
    assert offers(f"calclab {group}=") == [f"{group}={name}" for name in catalogue.options(group)]


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_what_is_offered_of_a_knob_fits_it(topic: str) -> None:
    import yaml

    for name, knob in catalogue.root_knobs(topic).items():
        assert f"{name}=" in offers(f"calclab topic={topic} {name[:-1]}")
        offered = offers(f"calclab topic={topic} {name}=")
        assert offered or name == "outputs", name
        for word in offered:
            if knob.base is not str or knob.choices:
                value = word.partition("=")[2].replace("e-", ".0e-")
                knob.check(yaml.safe_load(f"{value}]" if value.startswith("[") and not value.endswith("]") else value))


def test_methods_are_offered_by_name_also_inside_a_list() -> None:
    from calclab.topic.importance.methods import METHODS

    line = "calclab topic=importance method="
    assert {word.partition("=")[2] for word in offers(line)} == set(METHODS)
    assert offers(f"{line}[gradient,occ") == ["method=[gradient,occlusion"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("calclab ru", ["runs"]),
        ("python -m calclab ru", ["runs"]),
        ("calclab network=transformer network.h", ["network.heads="]),
        ("calclab -m optimizer=gd,adamw", ["optimizer=gd,adamw"]),
        ("calclab rerun=", ["rerun=true", "rerun=false"]),
        ("calclab --v", ["--version"]),
        ("calclab --cfg j", ["job"]),
        ("calclab rerun out", []),  # the shell's files
        ("calclab nope=", []),
        ("calclab topic=nope lr", []),
        ("calclab help lr", ["lr"]),
    ],
)
def test_what_is_offered(line: str, offered: list[str]) -> None:
    assert offers(line) == offered


def test_files_are_offered_where_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "houses.csv").write_text("")
    (tmp_path / "how").mkdir()
    assert offers("calclab data.path=ho") == ["data.path=houses.csv", "data.path=how/"]


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_bash_itself_completes(tmp_path: Path) -> None:
    """Hydra's function in bash, the lab's answer, and compgen between them."""
    program = tmp_path / "calclab"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; from calclab.app import main; sys.argv[0] = '
                       'str(\'calclab\'); sys.exit(main())" "$@"\n')  # fmt: skip
    program.chmod(0o755)
    script = (
        'eval "$(calclab -sc install=bash)"; COMP_LINE="calclab topic=importance method=occ"; COMP_CWORD=2; '
        'COMP_POINT=${#COMP_LINE}; hydra_bash_completion; echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout == "method=occlusion\n", done.stderr
