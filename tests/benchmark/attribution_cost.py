"""What attributions cost beside Captum and SHAP, one thread, CPU time: every pair in turn, the least of several rounds.

    python tests/benchmark/attribution_cost.py

breast_cancer (114 rows held out, 30 features), ReLU network 30-64-64-2, float32, and a network with 784 inputs. Errors
are held against float64 references: exact integrated gradients, 4,000 permutations, every baseline. Needs
calclab[captum]; SHAP's part is left out, with a word, where shap is not installed. Prints ratio, aim and errors.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import itertools
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution import attribute

ROUNDS, TURN, BUDGET = 12, 5, 8.0
warnings.filterwarnings("ignore")


def least(*calls: Callable[[], Any]) -> list[float]:
    """CPU seconds of each call, the least of several rounds in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for k, call in enumerate(calls):
            for _ in range(TURN):
                start = time.process_time()
                call()
                times[k].append(time.process_time() - start)
        if time.perf_counter() - began > BUDGET and len(times[0]) >= 3:
            break
    return [min(t) for t in times]


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def breast_cancer() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer()
    a, b, ya, yb = train_test_split(data.data, data.target, test_size=0.2, random_state=0)
    scale = StandardScaler().fit(a)
    rows = [torch.tensor(scale.transform(x), dtype=torch.float32) for x in (a, b)]
    return rows[0], rows[1], torch.tensor(ya), torch.tensor(yb)


def trained(net: nn.Sequential, x: Tensor, y: Tensor, epochs: int = 100) -> nn.Sequential:
    torch.manual_seed(0)
    rule = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            rule.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            rule.step()
    rule.zero_grad()
    return net.eval()


def peak(call: Callable[[], Any]) -> float:
    """The most resident megabytes during the call above those before it (Linux)."""

    def status(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    call()
    return status("VmHWM") - before


def line(name: str, peer: float, own: float, aim: float, errors: str = "") -> None:
    ratio = peer / own
    word = "" if ratio >= aim else "   BELOW"
    print(
        f"{name:34s} {peer * 1e3:9.3f} ms  {own * 1e3:8.3f} ms  {ratio:7.1f} x  (aim {aim:g}){word}  {errors}",
        flush=True,
    )


def off(found: Tensor, truth: Tensor) -> str:
    return f"{float((found.double() - truth).abs().max()):.1e}"


def beside_captum(net: nn.Sequential, x: Tensor, reference: Tensor) -> None:
    import captum.attr as ca

    predicted = net(x).argmax(1)
    zeros = torch.zeros_like(x)
    wide, x64 = copy.deepcopy(net).double(), x.double()
    own = lambda method, **more: attribute(net, method, x, target=predicted, reference=reference, **more).values  # noqa: E731
    true = lambda method, **more: attribute(wide, method, x64, target=predicted, **more).values  # noqa: E731

    def pair(
        name: str, aim: float, peer: Callable[[], Tensor], ours: Callable[[], Tensor], truth: Tensor | None
    ) -> None:
        errors = "" if truth is None else f"errors {off(peer().detach(), truth)} {off(ours(), truth)}"
        line(name, *least(peer, ours), aim, errors)

    saliency = ca.Saliency(net)
    pair("saliency", 3.5, lambda: saliency.attribute(x, target=predicted), lambda: own("gradient"), true("gradient"))
    ig = ca.IntegratedGradients(net)
    truth = true("integrated_gradients", exact=True)
    for n, aim in ((50, 7.0), (200, 9.0)):
        pair(
            f"integrated gradients, {n}",
            aim,
            lambda n=n: ig.attribute(x, baselines=zeros, target=predicted, n_steps=n),
            lambda n=n: own("integrated_gradients", steps=n),
            truth,
        )
    pair(
        "integrated gradients, 200 / exact",
        12.0,
        lambda: ig.attribute(x, baselines=zeros, target=predicted, n_steps=200),
        lambda: own("integrated_gradients", exact=True),
        truth,
    )
    for module, rows in ((net, x), (wide, x64)):
        found = attribute(module, "integrated_gradients", rows, target=predicted, exact=True)
        gap = found.gap.abs().max() / (found.score - found.reference_score).abs().max()
        print(f"    exact, {rows.dtype}: gap at most {float(gap):.1e} of the largest change")
    tunnel = ca.NoiseTunnel(saliency)
    smooth = attribute(wide, "smoothgrad", x64, target=predicted, samples=20000, sigma=0.2, seed=5).values
    peer = lambda: tunnel.attribute(x, nt_samples=50, stdevs=0.2, target=predicted)  # noqa: E731
    ours = lambda: own("smoothgrad", samples=50, sigma=0.2)  # noqa: E731
    means = [float((found.double() - smooth).abs().mean()) for found in (peer().detach(), ours())]
    line("SmoothGrad, 50", *least(peer, ours), 8.0, f"mean errors {means[0]:.1e} {means[1]:.1e}")
    ablation = ca.FeatureAblation(net)
    truth = true("ablation")
    for each in (1, x.shape[1]):
        pair(
            f"ablation ({each} at once by Captum)",
            6.0 if each == 1 else 0.0,
            lambda each=each: ablation.attribute(x, target=predicted, perturbations_per_eval=each),
            lambda: own("ablation"),
            truth,
        )
    sampling = ca.ShapleyValueSampling(net)
    truth = true("shapley", samples=4000, seed=9)
    for each in (1, x.shape[1]):
        peer = lambda each=each: sampling.attribute(x, target=predicted, n_samples=25, perturbations_per_eval=each)  # noqa: E731
        ours = lambda: own("shapley", samples=25)  # noqa: E731
        means = [float((found.double() - truth).abs().mean()) for found in (peer().detach(), ours())]
        aim = 5.0 if each == 1 else 0.0
        line(
            f"Shapley, 25 ({each} at once by Captum)",
            *least(peer, ours),
            aim,
            f"mean errors {means[0]:.1e} {means[1]:.1e}",
        )


def many_inputs() -> None:
    import captum.attr as ca

    net, x = mlp(784, 256, 10).eval(), torch.randn(128, 784, generator=torch.Generator().manual_seed(1))
    predicted, zeros = net(x).argmax(1), torch.zeros_like(x)
    ig = ca.IntegratedGradients(net)
    truth = attribute(copy.deepcopy(net).double(), "integrated_gradients", x.double(), target=predicted).values
    peer = lambda: ig.attribute(x, baselines=zeros, target=predicted, n_steps=50)  # noqa: E731
    own = lambda: attribute(net, "integrated_gradients", x, target=predicted, steps=50).values  # noqa: E731
    line("784 inputs, IG 50", *least(peer, own), 12.0, f"errors {off(peer(), truth)} {off(own(), truth)}")
    exact = lambda: attribute(net, "integrated_gradients", x, target=predicted, exact=True).values  # noqa: E731
    line("784 inputs, IG 50 / exact", *least(peer, exact), 1.0, f"errors {off(peer(), truth)} {off(exact(), truth)}")


def memory(net: nn.Sequential, x: Tensor) -> None:
    rows = x.repeat(40, 1)
    most = peak(lambda: attribute(net, "integrated_gradients", rows, steps=200))
    exact = peak(lambda: attribute(net, "integrated_gradients", rows))
    print(f"memory, IG 200 on {len(rows)} rows: {most:.0f} MB, exact {exact:.0f} MB (aim: 50)")


def beside_shap(net: nn.Sequential, x: Tensor, reference: Tensor) -> None:
    if find_spec("shap") is None:
        print("SHAP is not installed: its part is left out (pip install shap, in an environment of its own)")
        return
    import numpy as np
    import shap

    background = reference[:100]
    wide = copy.deepcopy(net).double()
    explainer = shap.GradientExplainer(net, background)
    one = torch.zeros(len(x), dtype=torch.long)
    truth = attribute(
        wide, "integrated_gradients", x.double(), target=one, baseline="training", reference=background.double()
    ).values
    peer = lambda: np.asarray(explainer.shap_values(x, nsamples=200))  # noqa: E731
    own = lambda: attribute(net, "expected_gradients", x, target=one, reference=background, samples=200).values  # noqa: E731
    theirs = torch.tensor(peer()[..., 0], dtype=torch.float64)
    means = [float((found.double() - truth).abs().mean()) for found in (theirs, own())]
    both, ours = least(peer, own)
    line(
        "expected gradients, per class",
        both / net[-1].out_features,
        ours,
        80.0,
        f"mean errors {means[0]:.1e} {means[1]:.1e}",
    )


def main() -> None:
    torch.set_num_threads(1)
    if find_spec("captum") is None:
        sys.exit("Captum is not installed: pip install 'calclab[captum]'")
    train, x, y, _ = breast_cancer()
    net = trained(mlp(30, 64, 64, 2), train, y)
    print(f"{'':34s} {'peer':>12s} {'calclab':>12s}")
    beside_captum(net, x, train)
    many_inputs()
    memory(net, x)
    beside_shap(net, x, train)


if __name__ == "__main__":
    main()
