"""The front door: what stands beside a run or a sweep, each a module with ``main(words) -> exit status``.

A module is imported when its command is typed, so that the others cost nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    """A command by its module, with its purpose in a line and the line that shows how it is typed."""

    module: str
    purpose: str
    example: str


COMMANDS = {
    "check": Command("calclab.app.check", "whether a derivative is right", "calclab check my.module:f --at '[1,2]'"),
    "runs": Command("calclab.runs", "list, filter, sort and prune what was run", "calclab runs --sort loss"),
    "load": Command("calclab.app.load", "one run read back: values, tables", "calclab load outputs/descent/<run>"),
    "compare": Command("calclab.difference.command", "what differs between runs, curves", "calclab compare A B"),
    "rerun": Command("calclab.app.rerun", "compute a run again, and compare", "calclab rerun outputs/descent/<run>"),
    "report": Command(
        "calclab.app.report", "a run, a sweep, a folder as one HTML file", "calclab report outputs/<topic>/<run>"
    ),
    "board": Command("calclab.app.board", "TensorBoard of a sweep, or of runs", "calclab board outputs/sweeps/<sweep>"),
    "export": Command(
        "calclab.app.export", "runs put into MLflow or Weights & Biases", "calclab export mlflow outputs/<topic>/<run>"
    ),
    "gallery": Command("calclab.app.gallery", "all studies as one page", "calclab gallery experiments/notebook"),
    "help": Command("calclab.app.help", "about a topic, a group, a knob, a command", "calclab help lr"),
    "version": Command("calclab.app.version", "of calclab and what it stands on", "calclab version"),
}


def answer(words: Sequence[str]) -> int:
    """Do what the command ``words[0]`` is for, with the words after it; the exit status."""
    return import_module(COMMANDS[words[0]].module).main(words[1:])


def program() -> list[str]:
    """How this process was called."""
    return ["calclab"] if os.path.basename(sys.argv[0]) == "calclab" else ["python", "-m", "calclab"]
