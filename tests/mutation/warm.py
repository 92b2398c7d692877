"""Pytest in children of one warm process: torch and all else that is not ours is imported once."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAVY = (
    *("torch", "torch.func", "torch.fx.experimental.proxy_tensor", "torch._dynamo", "numpy", "pandas", "pyarrow"),
    *("scipy.linalg", "scipy.stats", "scipy.optimize", "sklearn.datasets", "sklearn.linear_model", "sympy", "mpmath"),
    *("flint", "matplotlib.figure", "matplotlib.backends.backend_agg", "hydra", "omegaconf", "hypothesis", "pytest"),
    *("hypothesis.strategies", "hypothesis.extra.numpy", "captum.attr", "tensorboard.compat.proto.event_pb2", "rich"),
    *(
        "coverage",
        "filelock",
        "orjson",
        "yaml",
        "google_crc32c",
        "tensorboard.backend.event_processing.event_file_loader",
    ),
)
FAILED, PASSED, TIMEOUT, BROKEN = "failed", "passed", "timeout", "broken"


def warm() -> None:
    """Import what every test may need, so that a child begins at once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True  # a mutant's bytecode would outlive it
    for name in HEAVY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    import torch
    from hypothesis import Phase, settings

    torch.set_num_threads(1)
    # as many examples as the test asks for, the same each time, and no time spent on making a failure small
    settings.register_profile("mutation", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutation")
    assert not any(name.partition(".")[0] == "calclab" for name in sys.modules)


def child(work: Callable[[], Any], place: Path, seconds: float) -> Any:
    """What ``work`` returns (JSON) in a forked child whose current folder is ``place``; None when time was up."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(reading)
        os.chdir(place)
        sys.path.insert(0, str(place))
        os.environ["PYTHONPATH"] = str(place)  # for the processes that tests start
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        try:
            said = work()
        except BaseException as error:
            said = [BROKEN, repr(error)]
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe)
            pipe.flush()
        os._exit(0)
    os.close(writing)
    until = time.monotonic() + seconds
    with os.fdopen(reading) as pipe:
        os.set_blocking(pipe.fileno(), False)
        text = ""
        while True:
            piece = (
                os.read(pipe.fileno(), 1 << 20) if _ready(pipe.fileno(), max(0.0, until - time.monotonic())) else None
            )
            if piece is None:
                break
            if not piece:
                os.waitpid(pid, 0)
                return json.loads(text) if text else [BROKEN, "the process died"]
            text += piece.decode()
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _ready(file: int, seconds: float) -> bool:
    import select

    return bool(select.select([file], [], [], seconds)[0])


class Watched:
    """A plugin of pytest: the first test that fails, and how long each took."""

    def __init__(self, begins: Callable[[str], object] = lambda _: None) -> None:
        self.begins = begins
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.begins(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def run(tests: list[str], *options: str, watched: Watched | None = None) -> Watched:
    """Pytest over node ids, in this process."""
    import pytest

    watched = watched or Watched()
    pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", "-q", *options, *tests], plugins=[watched])
    return watched


def tried(tests: list[str], place: Path, seconds: float) -> tuple[str, str]:
    """(FAILED, PASSED or TIMEOUT, the test that failed) of these tests, in their order, up to the first failure."""

    def work() -> list[str]:
        watched = run(tests, "-x")
        return [FAILED, watched.failed[0]] if watched.failed else [PASSED if watched.seconds else BROKEN, ""]

    said = child(work, place, seconds)
    return (TIMEOUT, "") if said is None else (said[0], said[1])
