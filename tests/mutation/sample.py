"""How much of what the code says the tests hold: a seeded sample of slips, each put into the code alone.

    python tests/mutation/sample.py --mutants 300 --seed 1 [--packages numerics,topic] [--session build/mutation]
                                    [--tests numerics,topic] [--again] [--table]

Needs the extra ``mutation`` (Cosmic Ray, coverage). The tree is copied into the session's folder; there one mutant
after another is tried: the tests that execute its lines are run in a fork of a process that has collected them, up to
the first failure, those of the mirrored folder first, the quickest first, at most ``--budget`` CPU seconds of tests
(``warm.py``). ``--tests`` are folders of tests/, or files: what only a whole command would notice counts as survived,
and so does what only a test marked slow would.

An interrupted run goes on from its session. ``--again`` tries the survivors again, with the tests as they are now;
``--table`` only prints. When the code has changed since, begin another session. A survivor that changes nothing a user
could see is listed in ``equivalent.yaml``, with the reason.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import uuid
from collections import Counter
from pathlib import Path

import mutants as code
import selection
import warm
import yaml
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parents[2]
KILLED, SURVIVED, EQUIVALENT = "killed", "survived", "equivalent"


def copied(place: Path, folders: tuple[str, ...]) -> None:
    """The files git knows, or would, of some folders; what is gone here goes there."""
    for folder in folders:
        shutil.rmtree(place / folder, ignore_errors=True)
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)


def opened(session: Path, arguments: argparse.Namespace) -> list[code.Mutant]:
    """The session's mutants; of a new one, its copy of the code too."""
    tree = session / "tree"
    if not tree.exists():
        copied(
            tree, ("calclab", "conf", "experiments", "docs", "tests", "pyproject.toml", "README.md", "CONTRIBUTING.md")
        )
    before, now = (selection.digest(sorted((place / "calclab").rglob("*.py"))) for place in (tree, ROOT))
    if before == now:
        copied(tree, ("tests",))
    else:
        print("the code has changed since this session began, and it goes on with its own copy of code and tests")
    return code.sample(tree, arguments.packages, arguments.mutants, arguments.least, arguments.seed)


def judged(
    mutant: code.Mutant, tree: Path, process: warm.Warm, known: selection.Selection, budget: float
) -> WorkResult:
    """Killed by which test, or survived how many."""
    tests = known.tests(str(mutant.spec.module_path), mutant.lines)
    chosen: list[str] = []
    spent = 0.0
    for test in tests:
        if spent + known.seconds[test] <= budget or not chosen:
            chosen.append(test)
            spent += known.seconds[test]
    if not chosen:
        return WorkResult(WorkerOutcome.NO_TEST, "no test executes it", TestOutcome.SURVIVED)
    outcome, by = tried(mutant, tree, process, chosen, 10 + 4 * spent)
    if outcome == warm.PASSED:  # what a fixture of several tests executes was seen in the first of them alone
        files = {test.partition("::")[0] for test in chosen[:20]}
        more = [
            test for test in known.seconds if test.partition("::")[0] in files and test not in {*chosen, *known.failing}
        ]
        cost = sum(known.seconds[test] for test in more)
        if more and cost <= budget / 2:
            outcome, by = tried(mutant, tree, process, more, 10 + 4 * cost)
    if outcome == warm.PASSED:
        return WorkResult(WorkerOutcome.NORMAL, f"{len(chosen)} of {len(tests)} tests pass", TestOutcome.SURVIVED)
    return WorkResult(WorkerOutcome.NORMAL, f"{outcome} {by}", TestOutcome.KILLED)


def tried(mutant: code.Mutant, tree: Path, process: warm.Warm, tests: list[str], seconds: float) -> tuple[str, str]:
    """The outcome of tests under a mutant, and which failed first."""
    file = str(mutant.spec.module_path)
    said = process.ask("tried", seconds, file=file, source=mutant.source, tests=tests)
    if said is None or said[0] != warm.COLD:
        return (warm.TIMEOUT, "") if said is None else (said[0], said[1])
    place = tree / file
    text, times = place.read_text(), (place.stat().st_atime_ns, place.stat().st_mtime_ns)
    place.write_text(mutant.source)
    try:
        return warm.cold(tests, tree, seconds)
    finally:
        place.write_text(text)
        os.utime(place, ns=times)  # the compiled file is that of this text


def listed() -> set[tuple[str, str, str]]:
    """(file, the lines before, the lines after) of mutants that are known to change nothing."""
    rows = yaml.safe_load((Path(__file__).parent / "equivalent.yaml").read_text()) or []
    assert all(row["reason"] for row in rows)
    return {(row["file"], row["before"], row["after"]) for row in rows}


def table(sample: list[code.Mutant], outcomes: dict[code.Mutant, WorkResult]) -> None:
    """Survivors, then a line a package; the share is of what is not equivalent."""
    same = listed()
    counts: dict[str, Counter[str]] = {package: Counter() for package in dict.fromkeys(m.package for m in sample)}
    for mutant in sample:
        if mutant not in outcomes:
            continue
        key = (str(mutant.spec.module_path), mutant.before, mutant.after)
        word = KILLED if outcomes[mutant].is_killed else EQUIVALENT if key in same else SURVIVED
        counts[mutant.package][word] += 1
        if word == SURVIVED:
            print(f"{key[0]}:{mutant.spec.start_pos[0]} {mutant.spec.definition_name} ({outcomes[mutant].output})")
            print(f"    - {mutant.before}\n    + {mutant.after}")
    print(f"\n{'package':20}{'mutants':>9}{'killed':>9}{'survived':>10}{'equivalent':>12}{'share':>8}")
    for package, count in {**counts, "all": sum(counts.values(), Counter())}.items():
        real = count[KILLED] + count[SURVIVED]
        share = f"{count[KILLED] / real:8.0%}" if real else f"{'-':>8}"
        print(f"{package:20}{count.total():9}{count[KILLED]:9}{count[SURVIVED]:10}{count[EQUIVALENT]:12}{share}")


def results(
    sample: list[code.Mutant], database: WorkDB
) -> tuple[dict[code.Mutant, str], dict[code.Mutant, WorkResult]]:
    """The job of each mutant, new ones added, and what is known already."""

    def key(spec: MutationSpec) -> tuple[str, str, int]:
        return str(spec.module_path), spec.operator_name, spec.occurrence

    jobs = {key(item.mutations[0]): item.job_id for item in database.work_items}
    new = [WorkItem.single(uuid.uuid4().hex, m.spec) for m in sample if key(m.spec) not in jobs]
    database.add_work_items(new)
    jobs.update({key(item.mutations[0]): item.job_id for item in new})
    own, known = {mutant: jobs[key(mutant.spec)] for mutant in sample}, dict(database.results)
    return own, {mutant: known[job] for mutant, job in own.items() if job in known}


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--mutants", type=int, default=300)
    reader.add_argument("--least", type=int, default=30, help="mutants of each package")
    reader.add_argument("--seed", type=int, default=1)
    reader.add_argument("--packages", type=lambda text: tuple(text.split(",")), default=code.PACKAGES)
    reader.add_argument("--tests", type=lambda text: tuple(text.split(",")), default=selection.TESTS)
    reader.add_argument("--session", type=Path, default=ROOT / "build" / "mutation")
    reader.add_argument("--budget", type=float, default=60.0, help="seconds of tests for a mutant")
    reader.add_argument("--again", action="store_true", help="try the survivors again")
    reader.add_argument("--table", action="store_true", help="only print what is known")
    arguments = reader.parse_args()
    session = arguments.session.absolute()
    sample = opened(session, arguments)
    with use_db(session / "session.sqlite") as database:
        jobs, outcomes = results(sample, database)
        if not arguments.table:
            warm.warm()
            files = selection.files(session / "tree", arguments.tests)
            process = warm.Warm(session / "tree", files)
            chosen = selection.select(session / "tree", files, session / "coverage", process)
            for mutant in sample:
                known = outcomes.get(mutant)
                if known is not None and (known.is_killed or not arguments.again):
                    continue
                outcomes[mutant] = judged(mutant, session / "tree", process, chosen, arguments.budget)
                database.set_result(jobs[mutant], outcomes[mutant])
                print(f"{len(outcomes)} of {len(sample)}: {mutant.spec.module_path}:{mutant.spec.start_pos[0]}: "
                      f"{outcomes[mutant].test_outcome.value}, {outcomes[mutant].output}", flush=True)  # fmt: skip
        table(sample, outcomes)


if __name__ == "__main__":
    main()
