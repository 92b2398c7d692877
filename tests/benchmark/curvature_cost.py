"""What the curvature of networks costs, and how wrong it is, beside four other tools.

    python tests/benchmark/curvature_cost.py [seeds=3] [mlp] [transformer] [density] [trace] [follow] [resnet]
                                             [product] [growth]

One thread, float32. The unit is the CPU time of one gradient of the same loss by plain torch, taken before and after
each piece of work; three seeds, medians, products counted in columns; a first run with another seed is not counted (but
of the ResNet and of densities by others, which take minutes). The module, the data and our network of both are given;
graphs and operators are part of the work.
Errors are held against dense float64 matrices, or Lanczos' method in float64 to 1e-8 (``curvature_problems``). A peer
that is not installed is left out. Each line ends with the reach, where there is one.

    mlp          5 largest eigenvalues to 1e-6 (digits, 64-32-32-10, 3,466 parameters, 1,797 rows)
    transformer  the same (72,096 parameters, 64 rows of 16 tokens)
    resnet       5 largest to 1e-3 (ResNet-20, 272,474 parameters, 256 images)
    density      of the MLP, and its Wasserstein distance from the true one, relative to the largest eigenvalue
    trace        of the MLP, to 1 % at 95 %
    follow       the largest eigenvalue to 1 %, again after every 5 steps of training, 30 times
    product      one product alone, and for each column of a block; the least of many rounds, taken in turn
    growth       product, five eigenvalues and peak memory from 3,000 to 10 million parameters, 256 to 50,000 rows
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from curvature_peers import PEERS, Count, Peer, quiet
from curvature_problems import Problem, problem, truth, walk
from torch import Tensor, nn

from calclab.network.plain import plain
from calclab.numerics.krylov import Extremes, Probes
from calclab.numerics.lanes import measure_lanes
from calclab.numerics.linear import LinearOperator
from calclab.second_order import curvature
from calclab.subject.network import Network

SEEDS, WARM = (0, 1, 2), 99
MEMORY = 8e9  # bytes for graphs: that of the ResNet on 256 images is kept whole
warnings.filterwarnings("ignore")


# --- measuring ---


def seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def unit(about: Problem, least: float = 0.1) -> list[float]:
    """Gradients for at least so many seconds, three at least."""
    about.gradient()
    times: list[float] = []
    while len(times) < 3 or sum(times) < least:
        times.append(seconds(about.gradient))
    return times


@dataclass
class Line:
    """What one way of doing a piece of work cost, run after run."""

    costs: list[float] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self, name: str, setting: str, reach: float | None = None) -> None:
        cost, columns = statistics.median(self.costs), statistics.median(self.columns)
        word = "" if reach is None else f"   (reach {reach:g}{'' if cost <= reach else ', MISSED'})"
        note = f"  {self.notes[-1]}" if self.notes else ""
        spread = f"{min(self.costs):.4g}-{max(self.costs):.4g}"
        errors = f"error {statistics.median(self.errors):.1e}, at most {max(self.errors):.1e}"
        print(
            f"  {name:20} {setting:26} {cost:8.1f} ({spread}), {columns:g} products, {errors}{note}{word}", flush=True
        )


Work = Callable[[Any, int, Count], tuple[Any, str]]  # of a problem (peers) or a network (ours)


def measured(about: Problem, work: Work, error: Callable[[Any], float], *, warm: bool = True, own: bool = True) -> Line:
    """``work`` for every seed, between gradients: our ``own``, or a peer's. Each is given a copy in its own form."""
    line = Line()

    def copied() -> Any:
        return about.fresh().network() if own else about.fresh()

    if warm:
        work(copied(), WARM, Count())
    for seed in SEEDS:
        mine, count = copied(), Count()
        gradients = unit(about)
        began = time.process_time()
        found, note = work(mine, seed, count)
        cost = time.process_time() - began
        gradients += unit(about)
        line.costs.append(cost / statistics.median(gradients))
        line.columns.append(count.columns)
        line.errors.append(error(found))
        line.notes += [note] if note else []
    return line


def peers(about: Problem, task: str, error: Callable[[Any], float], *, warm: bool = True) -> None:
    for peer in PEERS:
        if task not in peer.settings:
            continue
        if not peer.installed:
            print(f"  {peer.name} is not installed: left out (pip install {peer.pip})")
            continue
        for setting, knobs in peer.settings[task]:
            kind = "top" if task == "loose" else task
            try:
                line = measured(about, asked(peer, kind, knobs), error, warm=warm, own=False)
            except Exception as failure:
                print(
                    f"  {peer.name:20} {setting:26} failed: {type(failure).__name__}: {str(failure)[:90]}", flush=True
                )
                continue
            line.show(peer.name, setting)


def asked(peer: Peer, task: str, knobs: dict[str, Any]) -> Work:
    def work(about: Any, seed: int, count: Count) -> tuple[Any, str]:
        with quiet(), plain():
            return peer.run(about, task, seed, count, **knobs), ""

    return work


# --- eigenvalues ---


def largest(accuracy: float, check: int = 0) -> Work:
    """The five largest; the note has the bound that holds for them, the residual, relative to the largest."""

    def work(about: Network, seed: int, count: Count) -> tuple[Any, str]:
        A = curvature(about, memory=MEMORY, lanes=1)
        pairs = Extremes(A, top=5, tol=0.0, accuracy=accuracy, check=check, seed=seed).run()
        count.columns = A.products
        scale = pairs.values.abs().max()
        bound, estimate = float((pairs.residuals / scale).max()), float((pairs.estimates / scale).max())
        note = f"bound {bound:.1e}, estimate {estimate:.1e}"
        if check:
            note += f", no other above {float(pairs.upper / scale):.2f} at 99 %"
        return pairs.values.tolist(), note

    return work


def eigenvalues(name: str, accuracy: float, reach: float, *, warm: bool = True) -> None:
    about, known = problem(name), truth(name)
    print(f"{name}, {about.n:,} parameters, 5 largest: {', '.join(f'{λ:.6g}' for λ in known.top[:5].tolist())}")
    measured(about, largest(accuracy), known.off, warm=warm).show("calclab", f"to {accuracy:g}", reach)
    measured(about, largest(accuracy, 8), known.off, warm=warm).show("calclab", "and a look for missed ones")
    peers(about, "top" if accuracy < 1e-5 else "loose", known.off, warm=warm)


# --- density and trace of the MLP ---


def density() -> None:
    about, known = problem("mlp"), truth("mlp")
    print("mlp, density; error is the distance from the true one")

    def ours(depth: int, probes: int, top: int) -> Work:
        def work(about: Network, seed: int, count: Count) -> tuple[Any, str]:
            A = curvature(about)
            deflate = None
            if top:
                deflate = Extremes(A.with_lanes(1), top=top, tol=1e-3, check=0, seed=seed).run()
            slq = Probes(A, probes=probes, depth=depth, deflate=deflate, seed=seed)
            found = slq.density(slq.run())
            count.columns = A.products
            return found.flat(), f"resolution {float(found.resolution):.2g}"

        return work

    def error(found: Any) -> float:
        return known.distance(*found)

    measured(about, ours(40, 8, 0), error).show("calclab", "40 x 8", 450)
    measured(about, ours(80, 8, 0), error).show("calclab", "80 x 8", 450)
    measured(about, ours(40, 8, 5), error).show("calclab", "5 pairs, 40 x 8", 450)
    peers(about, "density", error, warm=False)


def trace() -> None:
    about, known = problem("mlp"), truth("mlp")
    assert known.every is not None
    exact = float(known.every.sum())
    print(f"mlp, trace to 1 % at 95 %: {exact:.6g}")

    def ours(top: int) -> Work:
        def work(about: Network, seed: int, count: Count) -> tuple[Any, str]:
            A = curvature(about)
            look = Extremes(A.with_lanes(1), top=top, tol=1e-2, check=0, seed=seed)
            state = look.init()
            while not bool(state["done"]):
                state = look.step(state)
            probes = Probes(A, tol=0.01, block=16, deflate=look.subspace(state), seed=seed)
            found = probes.trace(probes.run())
            count.columns = A.products
            return float(found.value), f"± {float(found.half) / abs(float(found.value)):.2%}, {found.samples} probes"

        return work

    def error(found: float) -> float:
        return abs(found / exact - 1)

    for top in (5, 10, 20):
        measured(about, ours(top), error).show("calclab", f"beside {top} eigenvalues", 100)
    peers(about, "trace", error)


# --- following an eigenvalue through training ---


def follow() -> None:
    """All tools at the same points, one after the other."""
    about, (points, known) = problem("mlp"), walk("mlp")
    unit(about)
    print(
        f"mlp, largest eigenvalue to 1 %, every 5 steps of training, {len(points)} times; costs are those of one time"
    )

    def at(θ: Tensor) -> Problem:
        mine = about.fresh()
        nn.utils.vector_to_parameters(θ.float(), mine.parameters)
        return mine

    def ours(warm: bool) -> None:
        line, products, before = Line(), [], None
        for seed in SEEDS:
            before = None
            for θ, λ in zip(points, known, strict=True):
                mine = at(θ)
                network = mine.network()
                gradients = unit(about, 0.02)
                began = time.process_time()
                A = curvature(network, lanes=1)
                pairs = Extremes(A, top=1, tol=0.0, accuracy=0.005, check=0, seed=seed).run(before if warm else None)
                cost = time.process_time() - began
                before = pairs.vectors
                line.costs.append(cost / statistics.median(gradients + unit(about, 0.02)))
                products.append(A.products)
                line.errors.append(abs(float(pairs.values[0]) / float(λ) - 1))
        described(line, products, "calclab", "warm start" if warm else "cold")

    def described(line: Line, products: list[int], name: str, setting: str) -> None:
        wrong = sum(error > 0.01 for error in line.errors) / len(line.errors)
        print(
            f"  {name:20} {setting:12} {statistics.mean(line.costs):6.1f} gradients, {statistics.mean(products):.2f} "
            f"products (median {statistics.median(products):g}), error at most {max(line.errors):.1e}, "
            f"{wrong:.0%} above 1 %" + ("   (reach 3 products)" if name == "calclab" else ""),
            flush=True,
        )

    ours(True)
    ours(False)
    for peer in PEERS:
        if not peer.installed or "leading" not in peer.settings:
            continue
        for setting, knobs in peer.settings["leading"]:
            line, products = Line(), []
            for θ, λ in zip(points, known, strict=True):
                mine, count = at(θ), Count()
                gradients = unit(about, 0.02)
                began = time.process_time()
                found, _ = asked(peer, "top", knobs)(mine, 0, count)
                line.costs.append((time.process_time() - began) / statistics.median(gradients + unit(about, 0.02)))
                products.append(count.columns)
                line.errors.append(abs(max(found) / float(λ) - 1))
            described(line, products, peer.name, setting)


# --- products ---


def product() -> None:
    reaches = {"mlp": (1.5, 0.5), "transformer": (1.8, 0.7), "resnet": (2.1, None)}
    for name, (alone, together) in reaches.items():
        about = problem(name)
        A = curvature(about.network(), memory=MEMORY)
        V = torch.randn(about.n, 32, dtype=A.dtype, generator=torch.Generator().manual_seed(2))
        blocks = (1, 2, 4) if name == "resnet" else (1, 8, 16, 32)
        least = columns(about, A, V, blocks, 3 if name == "resnet" else 40)
        shown = ", ".join(f"{p}: {cost:.2f}" for p, cost in least.items())
        wanted = f"alone {alone}" + ("" if together is None else f", in blocks of 16 and more {together}")
        print(f"{name}: gradients for a column, by columns in a pass: {shown}   (reach {wanted})")
        print(f"  measured lanes: {measure_lanes(A)}; by the bytes of the graph {A.lanes}", flush=True)


def columns(about: Problem, A: LinearOperator, V: Tensor, blocks: Sequence[int], rounds: int) -> dict[int, float]:
    """Gradients for one of p columns that share a pass."""
    each = {p: A.with_lanes(p) for p in blocks}
    for p, B in each.items():
        B @ V[:, :p]
    gradient, least = float("inf"), dict.fromkeys(blocks, float("inf"))
    for _ in range(rounds):
        gradient = min(gradient, seconds(about.gradient))
        for p, B in each.items():
            part = V[:, :p]
            began = time.process_time()
            B @ part
            least[p] = min(least[p], (time.process_time() - began) / p)
    return {p: cost / gradient for p, cost in least.items()}


# --- growth ---

WIDTHS = (32, 140, 510, 1000, 3120)
ROWS = (256, 1024, 4096, 16384, 50000)


def growth() -> None:
    print("64-w-w-10, tanh, 1 GB for graphs, 24 vectors in the basis; each in a process of its own")
    for width, rows in [(width, 256) for width in WIDTHS] + [(128, rows) for rows in ROWS]:
        out = subprocess.run([sys.executable, __file__, "grown", str(width), str(rows)], capture_output=True, text=True)
        if out.returncode:
            print(f"  width {width}, {rows} rows failed: {out.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        found = json.loads(out.stdout.splitlines()[-1])
        print(
            f"  {found['n']:>10,} parameters {rows:>6,} rows: gradient {found['gradient'] * 1e3:9.2f} ms, product "
            f"{found['product']:.2f} gradients, top 5 to 1e-3 {found['top']:.1f} gradients ({found['products']} "
            f"products), {found['chunks']} chunks, peak {found['gradient_peak']:.0f} MB for gradients, "
            f"{found['peak']:.0f} MB in all",
            flush=True,
        )


def grown(width: int, rows: int) -> None:
    """One row of the table, as JSON."""
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10))
    inputs = torch.randn(rows, 64, generator=draw)
    classes = (inputs @ torch.randn(64, 10, generator=draw)).argmax(1)
    about = Problem("grown", made.eval(), inputs, classes)
    gradients = unit(about, 0.5)
    base = peak()
    A = curvature(about.network(), memory=1e9, lanes=1)
    V = torch.randn(about.n, dtype=A.dtype, generator=draw)
    A @ V
    products = [seconds(lambda: A @ V) for _ in range(5)]
    before = A.products
    began = time.process_time()
    search = Extremes(A, top=5, tol=1e-3, check=0, most_basis=24, kept=torch.float32)
    search.run(most=200)
    top = time.process_time() - began
    gradients += unit(about, 0.5)
    one = statistics.median(gradients)
    row = {"n": about.n, "gradient": one, "product": statistics.median(products) / one, "top": top / one}
    row |= {"products": A.products - before, "gradient_peak": base, "peak": peak(), "chunks": chunks(A)}
    print(json.dumps(row))


def peak() -> float:
    """The most memory that this process held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def chunks(A: Any) -> int:
    """Into how many pieces the rows were cut."""
    inner = A.matmat.func.__self__
    return len(inner.chunks.windows)


WORKS: dict[str, Callable[[], None]] = {
    "mlp": lambda: eigenvalues("mlp", 1e-6, 20),
    "transformer": lambda: eigenvalues("transformer", 1e-6, 70),
    "density": density,
    "trace": trace,
    "follow": follow,
    "resnet": lambda: eigenvalues("resnet", 5e-5, 23, warm=False),
    "product": product,
    "growth": growth,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if sys.argv[1:2] == ["grown"]:
        grown(int(sys.argv[2]), int(sys.argv[3]))
    else:
        names = sys.argv[1:]
        if names and names[0].startswith("seeds="):
            SEEDS = tuple(range(int(names.pop(0).removeprefix("seeds="))))
        unknown = [name for name in names if name not in WORKS]
        if unknown:
            sys.exit(f"{unknown[0]} is not measured here: type any of {' '.join(WORKS)}")
        for name in names or WORKS:
            WORKS[name]()
