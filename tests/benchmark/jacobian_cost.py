"""What Jacobians cost beside torch's own ways: jacrev, jacfwd, autograd.functional (plain and vectorised), a row loop.

    OMP_NUM_THREADS=1 python tests/benchmark/jacobian_cost.py

One process, one thread, CPU time, the least of several rounds in which all ways take turns; ratios only mean something
within one run. A plan is made once for a network, as a jacrev(f) is made once; its own cost is printed beside it. Peers
of many points are vmap(jacrev), vmap(jacfwd), and the loops over points. Errors are against jacrev in float64.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian as functional
from torch.func import jacfwd, jacrev, vmap

from calclab.network.cnn import Cnn
from calclab.network.resnet import Resnet
from calclab.network.transformer import Transformer
from calclab.numerics.jacobian import Map, compressed, golub_kahan, jacobians, of_function, of_module, plan, products
from calclab.numerics.jacobian.maps import has_convolutions
from calclab.subject.formula import formula

Way = Callable[[], Tensor]


def cpu(way: Way) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


def least(ways: dict[str, Way], rounds: int = 15, budget: float = 6.0) -> dict[str, float]:
    """The least CPU seconds of each way, all taking turns; a slow one has fewer turns."""
    best = {}
    for name, way in list(ways.items()):
        try:
            best[name] = min(cpu(way), cpu(way))
        except RuntimeError as error:
            print(f"    {name}: {str(error).splitlines()[0][:80]}")
            del ways[name]
    began = time.perf_counter()
    for _ in range(rounds):
        for name, way in ways.items():
            if best[name] < budget / 4:
                best[name] = min(best[name], cpu(way))
        if time.perf_counter() - began > budget:
            break
    return best


def row_loop(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    y = f(x).reshape(-1)
    return torch.stack([torch.autograd.grad(y[i], x, retain_graph=True)[0] for i in range(len(y))])


def peers(f: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Way]:
    if x.ndim == 1:
        return {
            "jacrev": partial(jacrev(f), x),
            "jacfwd": partial(jacfwd(f), x),
            "functional": partial(functional, f, x),
            "vectorised": partial(functional, f, x, vectorize=True),
            "row loop": partial(row_loop, f, x),
        }
    return {
        "jacrev": lambda: vmap(jacrev(f))(x),
        "jacfwd": lambda: vmap(jacfwd(f))(x),
        "functional": lambda: torch.stack([functional(f, point) for point in x]),
        "row loop": lambda: torch.stack([row_loop(f, point) for point in x]),
    }


def compare(title: str, f: Callable[[Tensor], Tensor], x: Tensor, ours: Way, *, skip: tuple[str, ...] = ()) -> float:
    others = {name: way for name, way in peers(f, x).items() if name not in skip}
    times = least({"ours": ours, **others})
    own = times.pop("ours")
    best = min(times, key=times.__getitem__)
    listed = ", ".join(f"{name} {seconds / own:.3g}" for name, seconds in times.items())
    flag = "" if own <= 1.1 * times[best] else "   ABOVE 1.1"
    print(f"{title}: {own * 1e3:.3f} ms; {own / times[best]:.3f} of the best peer ({best}); times ours: {listed}{flag}")
    return own


def gemm(n: int = 512) -> float:
    a, b = torch.randn(n, n), torch.randn(n, n)
    return min(cpu(lambda: a @ b) for _ in range(40))


def module_case(
    title: str, module: nn.Module, x: Tensor, points: Tensor | None = None, **more: tuple[str, ...]
) -> float:
    module = module.eval().requires_grad_(False)
    began = time.process_time()
    f = of_module(module, x)
    made = plan(f, 1 if points is None else len(points))
    planned = time.process_time() - began
    shape = x.shape

    def one(flat: Tensor) -> Tensor:
        return module(flat.reshape(1, *shape)).reshape(-1)

    flat = x.reshape(-1) if points is None else points.reshape(len(points), -1)
    ours = partial(jacobians, f, flat.reshape(-1, f.inputs), made)
    wide = copy.deepcopy(module).double()
    first = flat.reshape(-1, f.inputs)[0].double()
    truth = jacrev(lambda z: wide(z.reshape(1, *shape)).reshape(-1))(first)
    error = float((ours()[0].double() - truth).abs().max() / truth.abs().max())
    print(f"  {made.way}, planned in {planned * 1e3:.2f} ms; error {error:.1e} of the largest entry")
    return compare(title, one, flat, ours, **more)


def small() -> None:
    torch.manual_seed(0)
    module_case("linear 3 -> 2", nn.Linear(3, 2), torch.randn(3))
    layers = [nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)]
    module_case("MLP 30-64-64-2", nn.Sequential(*layers), torch.randn(30))
    module_case(
        "MLP 30-64-64-2, 569 rows", nn.Sequential(*layers), torch.randn(30), torch.randn(569, 30), skip=("functional",)
    )
    norm = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 64))
    module_case("LayerNorm MLP 64 -> 64", norm, torch.randn(64))
    wide = nn.Sequential(nn.Linear(512, 512), nn.LayerNorm(512), nn.Tanh(), nn.Linear(512, 512))
    module_case("LayerNorm MLP 512 -> 512", wide, torch.randn(512))
    module_case(
        "fan-out 4 -> 200", nn.Sequential(nn.Linear(4, 64), nn.LayerNorm(64), nn.Linear(64, 200)), torch.randn(4)
    )
    cnn = Cnn((1, 8, 8), 10, channels=8, blocks=2, activation="relu")
    module_case("cnn on digits", cnn, torch.randn(1, 8, 8))
    module_case("cnn on digits, 64 rows", cnn, torch.randn(1, 8, 8), torch.randn(64, 1, 8, 8), skip=("functional",))
    resnet = Resnet((1, 8, 8), 10, channels=8, stages=2, blocks=1, activation="relu")
    module_case("resnet on digits", resnet, torch.randn(1, 8, 8))
    transformer = Transformer((8, 8), 10, width=16, heads=2, blocks=2, activation="gelu")
    module_case("transformer on digits", transformer, torch.randn(8, 8), skip=("jacfwd",))
    loops = ("functional", "row loop")
    for title, module, shape in (
        ("cnn", cnn, (1, 8, 8)),
        ("resnet", resnet, (1, 8, 8)),
        ("transformer", transformer, (8, 8)),
    ):
        for rows in (64, 1797):
            module_case(f"{title}, {rows} rows", module, torch.randn(shape), torch.randn(rows, *shape), skip=loops)
    module_case("LayerNorm MLP 64 -> 64, 1,797 rows", norm, torch.randn(64), torch.randn(1797, 64), skip=loops)


class Recurrent(nn.Module):
    """The last output of a recurrent layer, and a linear one."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.inner, self.output = kind(4, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.inner(x)[0][:, -1])
        return result


def shapes() -> None:
    """Shapes of other kinds: recurrent, attention of torch's own, wide to narrow and back, scalar, image to image."""
    torch.manual_seed(0)
    loops = ("functional", "row loop")
    for kind in (nn.RNN, nn.GRU, nn.LSTM):
        net, rows = Recurrent(kind), torch.randn(64, 10, 4)
        module_case(kind.__name__, net, rows[0])
        module_case(f"{kind.__name__}, 64 rows", net, rows[0], rows, skip=("functional",))  # vmap follows none of them
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    module_case("TransformerEncoderLayer 48 -> 48", nn.Sequential(encoder), torch.randn(6, 8))
    module_case("the same, 64 rows", nn.Sequential(encoder), torch.randn(6, 8), torch.randn(64, 6, 8), skip=loops)
    for title, n, m in (("wide to narrow", 2000, 3), ("narrow to wide", 3, 2000), ("scalar", 64, 1)):
        net = nn.Sequential(nn.Linear(n, 64), nn.LayerNorm(64), nn.Tanh(), nn.Linear(64, m))
        module_case(f"{title}, {n} -> {m}", net, torch.randn(n))
        module_case("the same, 64 rows", net, torch.randn(n), torch.randn(64, n), skip=loops)
    image = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
    module_case("image to image 256 -> 256", image, torch.randn(1, 16, 16))
    module_case("the same, 16 rows", image, torch.randn(1, 16, 16), torch.randn(16, 1, 16, 16), skip=loops)
    embedded = nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 7))
    for title, module, x in (
        ("LayerNorm MLP", embedded, torch.randn(1, 12)),
        ("transformer", Transformer((8, 8), 10, width=16, heads=2, blocks=2, activation="gelu"), torch.randn(1, 8, 8)),
        ("resnet", Resnet((1, 8, 8), 10, channels=8, stages=2, blocks=1, activation="relu"), torch.randn(1, 1, 8, 8)),
    ):
        by_parameters(title, module, x)


def by_parameters(title: str, module: nn.Module, x: Tensor) -> None:
    """The outputs of one row by all parameters."""
    own = {name: p.detach() for name, p in module.named_parameters()}
    sizes = [p.numel() for p in own.values()]

    def call(flat: Tensor) -> Tensor:
        parts = {name: part.view_as(p) for (name, p), part in zip(own.items(), flat.split(sizes), strict=True)}
        result: Tensor = torch.func.functional_call(module.eval(), parts, (x,))[0]
        return result

    start = torch.cat([p.reshape(-1) for p in own.values()])
    f = Map(call, start, len(call(start)), convolves=has_convolutions(module))
    compare(
        f"{title} by its {len(start)} parameters",
        call,
        start,
        partial(jacobians, f, start[None], plan(f)),
        skip=("jacfwd",),
    )


class Block(nn.Module):
    """A residual block of convolutions: no plain sequence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def sparse() -> None:
    """Structure that is known: a banded system (Broyden's tridiagonal), and a residual block of convolutions."""
    for n, points in ((200, 1), (200, 64), (600, 1)):
        ends = ["0", *(f"x{i}" for i in range(n)), "0"]
        texts = [f"(3 - 2*x{i})*x{i} - {ends[i]} - 2*{ends[i + 2]} + 1" for i in range(n)]
        function = formula(name="broyden", expr=texts, at=[-1.0] * n, dtype=torch.float32)
        x = function.start + torch.randn(points, n, generator=torch.Generator().manual_seed(0))
        f = of_function(function)
        began = time.process_time()
        made = plan(f, points)
        print(f"  {made.way}, planned in {(time.process_time() - began) * 1e3:.1f} ms: {made.why}")
        skip = ("functional", "row loop", "jacfwd")
        ours = partial(jacobians, f, x, made)
        compare(f"Broyden tridiagonal {n}, {points} points", function.call, x if points > 1 else x[0], ours, skip=skip)
    torch.manual_seed(0)
    module_case("residual block 2 × 24 × 24", Block(2), torch.randn(2, 24, 24), skip=("functional", "row loop"))


def vectors() -> None:
    """R² -> R³: as a formula, and as a function of torch's own."""

    def f(v: Tensor) -> Tensor:
        return torch.stack([v[0] ** 2 + v[1], v[0] * v[1], torch.sin(v[0]) + torch.cos(v[1])])

    text = formula(name="f", expr=["x0**2 + x1", "x0*x1", "sin(x0) + cos(x1)"], at=[1, 2], dtype=torch.float32)
    own = of_function(text)
    x = torch.tensor([1.0, 2.0])
    compare("R2 -> R3, one point", f, x, partial(jacobians, own, x[None], plan(own)))
    points = torch.randn(10_000, 2)
    made = plan(own, len(points))
    seconds = compare(
        "R2 -> R3, 10,000 points", f, points, partial(jacobians, own, points, made), skip=("functional", "row loop")
    )
    loop = min(cpu(lambda: torch.stack([functional(f, point) for point in points[:500]])) for _ in range(3)) * 20
    print(f"  a Python loop over the points: {loop:.2f} s, {loop / seconds:,.0f} times ours (aim: 4,000)")


def large() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 512))
    points = torch.randn(64, 512)
    unit = gemm()
    one = module_case("MLP 512-512-512", net, points[0])
    print(f"  {one / min(unit, gemm()):.2f} products of 512 × 512 (aim: 1.5)")
    many = module_case("MLP 512-512-512, 64 rows", net, points[0], points, skip=("functional", "row loop"))
    print(f"  {many / (64 * min(unit, gemm())):.2f} of 64 products of 512 × 512 (aim: 1.5)")
    spectrum(net, points)


def spectrum(net: nn.Module, points: Tensor) -> None:
    f = of_module(net, points[0])
    made = plan(f, len(points))
    start = torch.randn(1, 512, generator=torch.Generator().manual_seed(0)).expand(64, 512)

    def ours() -> Tensor:
        linear = products(f, points)
        return golub_kahan(linear.push, linear.pull, start, 512, tol=1e-3).values[:, 0]

    def full() -> Tensor:
        return torch.linalg.svdvals(jacobians(f, points, made))[:, 0]

    truth = torch.linalg.svdvals(jacobians(f, points, made).double())[:, 0]
    times = least({"ours": ours, "svd": full}, rounds=3, budget=60)
    error = float(((ours().double() - truth) / truth).abs().max())
    print(f"sigma_1 of 64 Jacobians of 512 × 512: {times['svd'] / times['ours']:.1f} times faster than Jacobian + SVD")
    print(f"  (aim: 12), error {error:.1e} (aim: 1e-5)")


def convolution() -> None:
    torch.manual_seed(0)
    conv, image = nn.Conv2d(3, 8, 3, padding=1).requires_grad_(False), torch.randn(3, 32, 32)
    f = of_module(conv, image)
    made = plan(f)
    x = image.reshape(1, -1)

    def g(z: Tensor) -> Tensor:
        return conv(z.reshape(1, 3, 32, 32)).reshape(-1)

    ways: dict[str, Way] = {
        "coloured": lambda: compressed(f, x[0]).sparse(),
        "dense": lambda: jacobians(f, x, made),
        "jacfwd": lambda: jacfwd(g)(x[0]),
        "jacrev": lambda: jacrev(g, chunk_size=256)(x[0]),
    }
    times = least(ways, rounds=3, budget=20)
    print(f"conv 3 -> 8, 3×3, 32×32 (8192 × 3072): {made.why}")
    for name, aim in (("coloured", 0.15), ("dense", 0.5)):
        print(
            f"  {name}: {times[name] * 1e3:.1f} ms, {times[name] / times['jacfwd']:.3f} of jacfwd (aim: {aim}), "
            f"{times[name] / times['jacrev']:.3f} of jacrev in chunks"
        )
    print(f"  memory of the dense one beside the model: {peak(ways['dense']):.0f} MB (aim: 130)")


def peak(way: Way) -> float:
    """Megabytes resident at most during the call, beyond those before it; Linux only."""

    def status(key: str) -> float:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))

    if not os.access("/proc/self/clear_refs", os.W_OK):
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier parts have freed would hide what this one takes
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")
    before = status("VmRSS")
    kept = way()
    after = status("VmHWM")
    del kept
    return after - before


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for part in (convolution, large, vectors, sparse, small, shapes):
        part()


if __name__ == "__main__":
    main()
