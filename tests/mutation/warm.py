"""Pytest in forks of processes that have imported all that a test needs: a mutant costs its tests, and little else.

Two kinds. *Warm*: Pytest has collected the tests, with our code imported; in a fork the functions that a mutant changes
are given its code, and the tests run at once. *Cold*: torch and the like are imported, our code is not; that is for
mutants of what an import executes (constants, class bodies), and reads the mutant from the disk.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import itertools
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

HEAVY = (
    *("torch", "torch.func", "torch.fx.experimental.proxy_tensor", "torch._dynamo", "numpy", "pandas", "pyarrow"),
    *("scipy.linalg", "scipy.stats", "scipy.optimize", "sklearn.datasets", "sklearn.linear_model", "sympy", "mpmath"),
    *("flint", "matplotlib.figure", "matplotlib.backends.backend_agg", "hydra", "omegaconf", "hypothesis", "pytest"),
    *("hypothesis.strategies", "hypothesis.extra.numpy", "captum.attr", "tensorboard.compat.proto.event_pb2", "rich"),
    *("coverage", "filelock", "orjson", "yaml", "google_crc32c"),
)
FAILED, PASSED, TIMEOUT, BROKEN, COLD = "failed", "passed", "timeout", "broken", "cold"
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:xdist", "-q", "-m", "not slow and not minutes")


def warm() -> None:
    """Import what every test may need."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch
    from hypothesis import Phase, settings

    torch.set_num_threads(1)
    # as many examples as the test asks for, the same each time, and no time spent on making a failure small
    settings.register_profile("mutation", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutation")
    assert not any(name.partition(".")[0] == "calclab" for name in sys.modules)


# --- processes --------------------------------------------------------------------------------------------------------


def apart(place: Path) -> None:
    """Of a process that is to run tests of the code in ``place``, and say nothing."""
    os.setsid()
    os.chdir(place)
    sys.path.insert(0, str(place))
    os.environ["PYTHONPATH"] = str(place)  # for the processes that tests start
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def child(work: Callable[[], Any], seconds: float) -> Any:
    """What ``work`` returns (JSON) in a forked process; None when its seconds of CPU, or six times as many, were up."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with contextlib.suppress(PermissionError):
            os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 3))
        try:
            said = work()
        except BaseException as error:
            said = [BROKEN, repr(error)]
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writing)
    until, text = time.monotonic() + 6 * seconds, b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            piece = pipe.read(1 << 20)
            if not piece:
                break
            text += piece
        else:
            os.killpg(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return None if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else [FAILED, "the process died"]
    return json.loads(text)


class Watched:
    """A plugin of pytest: which tests failed, and the CPU seconds of each."""

    def __init__(self, begins: Callable[[str], object] = lambda _: None) -> None:
        self.begins = begins
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.begins(nodeid)
        self.since = time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = time.process_time() - self.since

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    @property
    def outcome(self) -> list[str]:
        return [FAILED, self.failed[0]] if self.failed else [PASSED if self.seconds else BROKEN, ""]


def cold(tests: list[str], place: Path, seconds: float) -> tuple[str, str]:
    """(FAILED, PASSED or TIMEOUT, the test that failed) of these tests, in their order, up to the first failure."""

    def work() -> list[str]:
        import pytest

        sys.dont_write_bytecode = True  # a mutant's would outlive it
        apart(place)
        watched = Watched()
        pytest.main([*OPTIONS, "-x", *tests], plugins=[watched])
        return watched.outcome

    said = child(work, seconds)
    return (TIMEOUT, "") if said is None else (said[0], said[1])


# --- a process that has collected all tests ---------------------------------------------------------------------------


class Warm:
    """Pytest with the tests of ``files`` collected, waiting for what to run: ``ask`` a function of this module."""

    def __init__(self, place: Path, files: list[str]) -> None:
        self.asking, answering = os.pipe()[::-1], os.pipe()
        (self.write, read), (hear, say) = self.asking, answering
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.write)
            os.close(hear)
            import pytest

            apart(place)
            loop = Loop(os.fdopen(read), os.fdopen(say, "w"))
            pytest.main([*OPTIONS, f"--basetemp={place.parent / 'tmp'}", *files], plugins=[loop])
            os._exit(0)
        os.close(read)
        os.close(say)
        self.asked, self.heard = os.fdopen(self.write, "w"), os.fdopen(hear)

    def ask(self, name: str, seconds: float, **given: Any) -> Any:
        """What ``name(items, watched, **given)`` returns in a fork; None when time was up."""
        print(json.dumps([name, seconds, given]), file=self.asked, flush=True)
        answer = self.heard.readline()
        if not answer:
            raise RuntimeError("pytest could not collect the tests")
        return json.loads(answer)


class Loop(Watched):
    def __init__(self, requests: Any, answers: Any) -> None:
        super().__init__()
        self.requests, self.answers = requests, answers

    def pytest_runtestloop(self, session: Any) -> bool:
        items = {item.nodeid: item for item in session.items}
        gc.collect()
        gc.freeze()  # so that a fork's collections touch none of it
        for line in self.requests:
            name, seconds, given = json.loads(line)
            said = child(lambda name=name, given=given: globals()[name](items, self, **given), seconds)
            print(json.dumps(said), file=self.answers, flush=True)
        return True


def run(items: dict[str, Any], watched: Watched, tests: list[str], *, to_the_end: bool = False) -> None:
    chosen = [items[test] for test in tests if test in items]
    for item, following in itertools.pairwise([*chosen, None]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if watched.failed and not to_the_end:
            return


def tried(items: dict[str, Any], watched: Watched, file: str, source: str, tests: list[str]) -> list[str]:
    """The outcome of tests under a mutant of a file; COLD where it cannot be put into what is imported."""
    if not put(file, source):
        return [COLD, ""]
    run(items, watched, tests)
    return watched.outcome


def covered(items: dict[str, Any], watched: Watched, file: str) -> dict[str, Any]:
    """What each test of one file executes of our code, line by line, and the seconds it takes."""
    import coverage

    root = Path.cwd()
    cover = coverage.Coverage(data_file=None, source=[str(root / "calclab")], config_file=False)
    watched.begins = cover.switch_context
    cover.start()
    run(items, watched, [name for name in items if name.partition("::")[0] == file], to_the_end=True)
    cover.stop()
    data, tests = cover.get_data(), sorted(watched.seconds)
    number = {name: i for i, name in enumerate(tests)}
    lines = {
        str(Path(name).relative_to(root)): {
            line: [number[test] for test in there if test in number]
            for line, there in data.contexts_by_lineno(name).items()
        }
        for name in data.measured_files()
    }
    return {"tests": tests, "lines": lines, "seconds": watched.seconds, "failing": watched.failed}


# --- a mutant in what is imported -------------------------------------------------------------------------------------


def codes(code: CodeType) -> Iterator[CodeType]:
    """A module's code and all code within it, in order."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def own(code: CodeType) -> tuple[Any, ...]:
    """What a piece of code does, without the functions within it."""
    constants = [None if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def put(file: str, source: str) -> bool:
    """Give the functions of an imported file the code of a mutant; False where an import would have to execute it."""
    path = str(Path.cwd() / file)
    before = list(codes(compile(Path(path).read_text(), path, "exec", dont_inherit=True)))
    after = list(codes(compile(source, path, "exec", dont_inherit=True)))
    if [code.co_qualname for code in before] != [code.co_qualname for code in after]:
        return False
    changed = [old for old, new in zip(before, after, strict=True) if own(old) != own(new)]
    if not changed or not all(code.co_flags & inspect.CO_OPTIMIZED for code in changed):
        return False
    becomes = {(old.co_qualname, old.co_firstlineno): new for old, new in zip(before, after, strict=True) if old != new}
    found = 0
    gc.unfreeze()
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == path:
            new = becomes.get((thing.__code__.co_qualname, thing.__code__.co_firstlineno))
            if new is not None and len(new.co_freevars) == len(thing.__code__.co_freevars):
                thing.__code__ = new
                found += 1
    gc.freeze()
    return found > 0
