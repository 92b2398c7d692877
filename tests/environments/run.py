"""Support is what has been run: environments with the lowest versions that pyproject.toml allows and with the newest.

    python tests/environments/run.py                          # every environment, a file or two of each package in each
    python tests/environments/run.py --only lowest-3.11 --whole
    python tests/environments/run.py --find-links FOLDER      # where else wheels lie, such as torch's without CUDA

Needs uv, and the Pythons named; what is not there is fetched, or said. Each environment lies in a folder of its own
(--folder), with the lab installed editable and its extras. A table ends it. Exit status 1 where a test failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = "joblib,submitit,optuna,captum"  # all but ray, which has wheels of hundreds of megabytes for each Python
TOOLS = ("pytest>=8", "hypothesis>=6", "pytest-xdist>=3", "sybil>=9", "build", "hatchling", "pip")
QUICK = """
    test_drive.py test_checkpoint.py library/test_questions.py archive/test_load.py attribution/test_methods.py
    app/test_composer.py data/test_table.py figure/test_principal_plane.py network/test_networks.py
    numerics/test_certify.py optimizer/test_rules.py report/test_report.py second_order/test_kernels.py
    sink/test_csv.py sink/test_tensorboard.py study/test_claims.py subject/test_formula_exact.py
    subject/test_network_function.py topic/test_derivative.py topic/test_hessian.py
"""  # a file or two of each package: where the lab touches what it depends on
SHOWN = ("torch", "numpy", "pandas", "pyarrow", "matplotlib", "scikit-learn", "hydra-core", "python-flint")
# a dependency that warns as it is imported, such as one without its compiled half, is not supported
IMPORTS = "import google_crc32c, flint, orjson, pyarrow, pandas, numpy, hydra, omegaconf, tensorboard, filelock"


@dataclass(frozen=True)
class Environment:
    python: str
    versions: str  # "lowest" or "newest"

    @property
    def name(self) -> str:
        return f"{self.versions}-{self.python}"


ALL = [Environment(python, versions) for python in ("3.11", "3.12", "3.13") for versions in ("lowest", "newest")]


def done(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["nice", "-n", "10", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def made(which: Environment, folder: Path, links: list[str]) -> Path:
    """The Python of an environment, made unless it is there; RuntimeError with what uv said."""
    place = folder / which.name
    python = place / "bin" / "python"
    if (place / "complete").is_file():
        return python
    find = [word for link in links for word in ("--find-links", link)]
    install = ("uv", "pip", "install", "-q", "--python", python, *find)
    lowest = ("--resolution", "lowest-direct") if which.versions == "lowest" else ()
    for words in (
        ("uv", "venv", "-q", "--clear", "--python", which.python, place),
        (*install, *lowest, "-e", f"{ROOT}[{EXTRAS}]"),
        (*install, *TOOLS),
    ):
        ended = done(*words)
        if ended.returncode:
            raise RuntimeError(ended.stderr.strip())
    (place / "complete").touch()
    return python


def versions(python: Path) -> str:
    code = f"from importlib.metadata import version\nfor n in {SHOWN}: print(n, version(n), end='  ')"
    return done(python, "-c", code).stdout.strip()


def tested(python: Path, whole: bool, log: Path) -> str:
    """How the tests ended; what they printed is kept in ``log``."""
    imports = done(python, "-W", "error", "-c", IMPORTS)
    if imports.returncode:
        log.write_text(imports.stderr)
        return f"an import fails or warns: {imports.stderr.strip().splitlines()[-1]}"
    chosen = ["tests"] if whole else [f"tests/{name}" for name in QUICK.split()]
    how = ("-v", "-n", "0", "-p", "no:cacheprovider", "--tb=short", "--continue-on-collection-errors")
    ended = done(python, "-m", "pytest", *how, *chosen, OMP_NUM_THREADS="1")
    log.write_text(ended.stdout + ended.stderr)
    return ended.stdout.strip().splitlines()[-1].strip("= ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[which.name for which in ALL], default=[e.name for e in ALL])
    parser.add_argument("--whole", action="store_true", help="the whole suite, not its files of each package")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "calclab-environments")
    parser.add_argument("--find-links", nargs="+", default=[])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    good = True
    for which in ALL:
        if which.name not in arguments.only:
            continue
        began = time.perf_counter()
        try:
            python = made(which, arguments.folder, arguments.find_links)
            told = tested(python, arguments.whole, arguments.folder / f"{which.name}.log")
        except RuntimeError as error:
            print(f"{which.name}: not made\n{error}", flush=True)
            good = False
            continue
        good &= "passed" in told and not {"failed", "error", "errors"} & set(told.replace(",", "").split())
        print(f"{which.name}: {told} ({time.perf_counter() - began:.0f} s in all)\n  {versions(python)}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
