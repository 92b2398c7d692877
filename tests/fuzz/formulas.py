"""Random formulas at hostile points, every topic beside an independent truth, counted in a table.

    python tests/fuzz/formulas.py --cases 10000 --seed 1
    python tests/fuzz/formulas.py --seed 1 --only 4711          one case again, with all that was said

Each case runs in a child of its own, with a limit on memory and time, so that a crash is counted and the formula shown.
Exit status 1 unless the first columns are zero.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import select
import shlex
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grammar import TOPICS, Case, case

SECONDS = 5.0  # of CPU that a case may take
KILLED = 20  # ... after which it is stopped
MEMORY = 2**30  # bytes more than the lab itself
ZERO = ("wrong", "miss", "refuted", "missing", "crash", "slow")
HEADS = {"wrong": "certified and wrong", "miss": "ball misses", "refuted": "false refuted", "crash": "crash"}
HEADS |= {"missing": "exists, called undefined", "slow": f"over {SECONDS:g} s or 1 GB"}
WORDS = ("certified", "consistent", "inconclusive", "undefined", "suspect", "refuted", "refusal")
Result = dict[str, Any]  # verdict, findings, seconds


def run(question: Case, show: bool = False) -> Result:
    """In the child: what calclab says, what it costs, and what is wrong with it."""
    from asked import ask
    from verdicts import judge

    from calclab.core import Verdict
    from calclab.errors import UserError

    began = time.process_time()
    try:
        said = ask(question)
    except UserError as error:
        spent = time.process_time() - began
        return {"verdict": "refusal", "findings": [], "seconds": spent, "sentence": str(error)}
    except MemoryError:
        return {"verdict": "none", "findings": [("slow", "more than 1 GB")], "seconds": 0.0}
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        if show:
            traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]} ({where})"
        return {"verdict": "none", "findings": [("crash", text)], "seconds": time.process_time() - began}
    spent = time.process_time() - began
    order = [verdict.word for verdict in Verdict]
    worst = max((row.verdict for row in said.rows), key=order.index, default="none")
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    signal.alarm(8)
    try:
        findings = judge(question, said)
    except TimeoutError:
        findings = []  # the truth would take too long
    signal.alarm(0)
    if show:
        print(said.sentence)
        for row in said.rows:
            print("   ", row)
        for name, ball in said.balls.items():
            print("    ball", name, *ball)
    return {"verdict": worst, "findings": findings, "seconds": spent, "sentence": said.sentence}


def guarded(question: Case) -> Result:
    """The result of a case, whatever becomes of the child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        try:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (KILLED, KILLED))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(run(question), pipe)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    data = bytearray()
    with os.fdopen(read, "rb") as pipe:
        while select.select([pipe], [], [], 6 * KILLED)[0]:
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                break
            data += piece
        else:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        late = number in (signal.SIGXCPU, signal.SIGKILL)
        finding = ("slow", f"stopped after {KILLED} s") if late else ("crash", f"died of signal {number}")
        return {"verdict": "none", "findings": [finding], "seconds": float(KILLED) if late else 0.0}
    if not data:
        return {"verdict": "none", "findings": [("crash", "the child ended without a word")], "seconds": 0.0}
    result: Result = pickle.loads(bytes(data))
    if result["seconds"] > SECONDS:
        result["findings"].append(("slow", f"{result['seconds']:.1f} s of CPU"))
    return result


def share(seed: int, numbers: Sequence[int], topic: str | None) -> Iterator[tuple[int, Result]]:
    """The cases ``numbers``, one after the other."""
    import torch
    from asked import ask

    torch.set_num_threads(1)
    for each in TOPICS:  # imports, and what is made once a process
        ask(Case(each, (("mul", ("x", 0), ("sin", ("x", 0))),), (0.5,)))
    for k in numbers:
        yield k, guarded(case(seed, k, topic))


def everywhere(seed: int, numbers: range, topic: str | None, processes: int) -> Iterator[tuple[int, Result]]:
    """All cases, shared out over forked processes."""
    if processes == 1:
        yield from share(seed, numbers, topic)
        return
    from multiprocessing import get_context

    context = get_context("fork")
    queue = context.SimpleQueue()

    def work(part: range) -> None:
        for found in share(seed, part, topic):
            queue.put(found)
        queue.put(None)

    workers = [context.Process(target=work, args=(numbers[i::processes],)) for i in range(processes)]
    for worker in workers:
        worker.start()
    left = processes
    while left:
        found = queue.get()
        if found is None:
            left -= 1
        else:
            yield found


def command(question: Case) -> str:
    """What a user would type."""
    key = "links" if question.links else "expr"
    texts = question.texts()
    formula = texts[0] if len(texts) == 1 and question.topic != "jacobian" else f"[{', '.join(texts)}]"
    at = f"[{', '.join(map(repr, question.at))}]"
    words = [f"topic={question.topic}", f"function.{key}={formula}", f"function.at={at}"]
    return f"python -m calclab {shlex.join(words)}"


def table(count: dict[str, Counter[str]]) -> str:
    columns = [*ZERO, *WORDS]
    heads = [HEADS.get(name, name) for name in columns]
    rows = [["topic", "cases", *heads]]
    for topic in (*TOPICS, "all"):
        of = sum((count[t] for t in TOPICS), Counter()) if topic == "all" else count[topic]
        rows.append([topic, str(of["cases"]), *(str(of[name]) for name in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--cases", type=int, default=300)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--first", type=int, default=0, help="the number of the first case")
    asked.add_argument("--only", type=int, help="one case, with all that was said")
    asked.add_argument("--topic", choices=TOPICS, help="all cases for this topic")
    asked.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    words = asked.parse_args()
    if words.only is not None:
        question = case(words.seed, words.only, words.topic)
        print(command(question), flush=True)
        result = run(question, show=True)
        print(f"{result['verdict']}, {result['seconds']:.2f} s of CPU", *result["findings"], sep="\n")
        return 1 if result["findings"] else 0
    count: dict[str, Counter[str]] = {topic: Counter() for topic in TOPICS}
    began = time.monotonic()
    numbers = range(words.first, words.first + words.cases)
    for k, result in everywhere(words.seed, numbers, words.topic, words.processes):
        question = case(words.seed, k, words.topic)
        kinds = {kind for kind, _ in result["findings"]}
        count[question.topic].update(["cases", result["verdict"], *kinds])
        for kind, text in result["findings"]:
            print(f"--- {kind}: {text}\n    seed {words.seed} case {k}: {command(question)}", flush=True)
    print(table(count))
    print(f"{time.monotonic() - began:.0f} s")
    return int(any(count[topic][kind] for topic in TOPICS for kind in ZERO))


if __name__ == "__main__":
    sys.exit(main())
