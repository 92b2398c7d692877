"""The Hessian by products alone: held against the matrix, resumed anywhere, and honest about what it cannot know."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Data, Function, Scan, Status, Verdict
from calclab.data.synthetic import blobs
from calclab.drive import begin, drive
from calclab.errors import UserError
from calclab.network.mlp import Mlp
from calclab.numerics.krylov import Pairs
from calclab.numerics.krylov.student import mean
from calclab.numerics.operators import LinearOperator, value_and_gradient
from calclab.numerics.spectrum import eigenvalues_of
from calclab.schema import catalogue
from calclab.sink.memory import MemorySink
from calclab.subject.network import Network, network
from calclab.topic.hessian import hessian, spectrum
from calclab.topic.hessian.dense import Dense
from calclab.topic.hessian.evidence import along, of_trace, truth
from calclab.topic.hessian.matrix_free import MatrixFree
from calclab.topic.hessian.sampling import Bulk

torch.set_num_threads(1)

KNOBS = {name: catalogue.values("topic", "hessian")[name] for name in catalogue.knobs("topic", "hessian")}
free = partial(hessian, **{**KNOBS, "matrix": "never", "lanes": 4, "slices": 5, "depth": 20})
dense = partial(hessian, **{**KNOBS, "matrix": "always", "limit": 5000, "slices": 0})
GOOD = {Verdict.CERTIFIED, Verdict.CONSISTENT}


def rows(classes: int = 3, seed: int = 0, held_out: float = 0.0, count: int = 20) -> Data:
    more = {"seed": seed, "standardize": False, "held_out": held_out, "dtype": torch.float64, "device": "cpu"}
    return blobs(rows=count, classes=classes, dimension=6, separation=4.0, **more)


def net(activation: str = "relu", train: int = 30, seed: int = 0, **more: float) -> Network:
    module = partial(Mlp, width=8, depth=1, activation=activation, bias=True)
    return network(module, rows(seed=seed, **more), name="net", train=train, seed=seed)


def carried(topic: Dense | MatrixFree) -> tuple[Scan, MemorySink]:
    sink = MemorySink()
    return drive(topic, [sink]), sink


def number(value: Tensor | str) -> float:
    assert isinstance(value, Tensor)
    return float(value)


def agree(subject: Network, seed: int) -> tuple[bool, Scan]:
    """Everything that is certain holds against the matrix; whether the trace's interval does."""
    topic = free(subject=subject, seed=seed, damping=0.1)
    scan, _ = carried(topic)
    said = topic.answer(scan.state).values
    H = topic.problem.A.dense()
    λ = eigenvalues_of((H + H.T) / 2)
    top, bottom = topic.ends if isinstance(topic, MatrixFree) else (0, 0)
    exact = torch.cat([λ.flip(0)[:top], λ[:bottom]])
    rounding = 1e-12 * float(λ.abs().max())
    assert bool(((said["eigenvalues"] - exact).abs() <= said["residuals"] + rounding).all())
    assert number(said["beyond_top"]) + 1e-9 >= float(λ.flip(0)[top])
    assert number(said["condition_low"]) <= float(λ.abs().max() / λ.abs().min()) * (1 + 1e-9)
    κ = float((λ[-1] + 0.1) / (λ[0] + 0.1))
    if isinstance(said["condition_damped"], Tensor):
        assert number(said["condition_damped_low"]) <= κ * (1 + 1e-9)
        assert number(said["condition_damped_high"]) >= κ * (1 - 1e-9)
    assert number(said["frobenius"]) == pytest.approx(float(H.norm()), rel=0.2)
    off = abs(number(said["trace"]) - float(H.trace()))
    return off <= number(said["trace_within"]) + 1e-9 * float(λ.abs().sum()), scan


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_what_products_say_is_what_the_matrix_says(activation: str) -> None:
    _, scan = agree(net(activation), 0)
    assert {row.verdict for row in scan.evidence} <= GOOD
    methods = {row.method for row in scan.evidence}
    assert {"⟨u, Av⟩ = ⟨Au, v⟩", "VᵀV = I", "those of the matrix", "differences of gradients along v"} <= methods
    assert ("the exact diagonal against random vectors" in methods) == (activation == "relu")


@pytest.mark.parametrize(("count", "off", "refuted"), [(4, 10.0, False), (4, 2000.0, True), (24, 8.0, True)])
def test_few_samples_of_a_trace_refute_less(count: int, off: float, refuted: bool) -> None:
    """Ten standard errors are one in 500 runs by four samples, and one in a billion by 24."""
    found = mean(torch.linspace(-1, 1, count, dtype=torch.float64), count)
    row = of_trace("samples", float(off * found.error), found, 0)
    assert (row.verdict == Verdict.REFUTED) is refuted


@pytest.mark.slow
def test_a_hundred_seeds_within_their_bounds() -> None:
    inside = sum(agree(net("tanh", train=10, seed=seed), seed)[0] for seed in range(100))
    assert 90 <= inside <= 100


def test_a_piecewise_linear_network_has_an_exact_trace() -> None:
    topic = free(subject=net("relu"), diagonal=True)
    said = topic.answer(carried(topic)[0].state).values
    H = topic.problem.A.dense()
    torch.testing.assert_close(said["diagonal"], H.diagonal(), rtol=1e-9, atol=1e-12)
    assert number(said["trace_error"]) == 0


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_sampled_diagonal_is_that_of_the_matrix(activation: str) -> None:
    topic = free(subject=net(activation), operator="hessian", diagonal=True, trace_tol=1e-2, products=600)
    said = topic.answer(carried(topic)[0].state).values
    H = topic.problem.A.dense()
    gaps, error = (said["diagonal"] - H.diagonal()).abs(), said["diagonal_error"]
    assert bool((gaps <= 6 * error + 1e-9).all())


def test_a_scan_goes_on_bit_for_bit_wherever_it_was_cut() -> None:
    topic = free(subject=net("tanh"), layers=True, diagonal=True, against="gauss_newton")
    whole, sink = carried(topic)
    assert whole.status is Status.COMPLETED
    cuts = [0, 3, 7, 8, 9, 15, 31, 33, 60, 100, whole.step]
    saved, pieces = begin(topic), MemorySink()
    for _, last in pairwise([-1, *(cut for cut in cuts if cut <= whole.step)]):
        again = free(subject=net("tanh"), layers=True, diagonal=True, against="gauss_newton")  # another process

        def enough(scan: Scan, last: int = last) -> bool:
            return scan.step >= last

        saved = drive(again, [pieces], reloaded(saved), enough)
    for name, column in sink.columns.items():
        other = pieces.columns[name]
        assert list(column.steps) == list(other.steps), name
        assert torch.equal(column.data.nan_to_num(7.5), other.data.nan_to_num(7.5)), name
    one, two = topic.answer(whole.state), again.answer(saved.state)
    assert one.sentence == two.sentence


def reloaded(scan: Scan) -> Scan:
    """Through a file, as a checkpoint does."""
    buffer = io.BytesIO()
    torch.save(scan.state, buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    return Scan(scan.status, scan.step, state, scan.last, scan.evidence)


def test_two_spellings_of_a_part_are_one_answer() -> None:
    subject = net()
    whole = dense(subject=subject)
    H = whole.step(whole.init(), 0)[0]["hessian"]
    at = whole.problem.places("hidden.0")
    first = [dense(subject=subject, parameters=names) for names in (["hidden.0"], ["hidden.0.*"])]
    for topic in first:
        part = topic.step(topic.init(), 0)[0]["hessian"]
        torch.testing.assert_close(part, H[at][:, at], rtol=1e-10, atol=1e-12)
        assert topic.problem.function.variables[0] == "hidden.0.weight[0,0]"
    topic = free(subject=subject, parameters=["hidden.0"])
    said = topic.answer(carried(topic)[0].state).values
    λ = eigenvalues_of(H[at][:, at])
    assert number(said["eigenvalues"][0]) == pytest.approx(float(λ[-1]), abs=2 * float(said["residuals"][0]) + 1e-12)


@pytest.mark.parametrize("kind", ["gauss_newton", "fisher", "empirical_fisher", "gradient_covariance"])
def test_every_operator_with_and_without_its_matrix(kind: str) -> None:
    subject = net("tanh")
    one, two = dense(subject=subject, operator=kind), free(subject=subject, operator=kind, tol=1e-8, damping=0.01)
    state = one.step(one.init(), 0)[0]
    assert {row.verdict for row in one.verify(state, 0)} <= GOOD
    assert float(state["eigenvalues"][0]) > -1e-10
    said = two.answer(carried(two)[0].state).values
    found, exact = said["eigenvalues"][:-1], state["eigenvalues"].flip(0)[: len(said["eigenvalues"]) - 1]
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-10)
    λ = state["eigenvalues"] + 0.01
    assert number(said["condition_damped_low"]) <= float(λ[-1] / λ[0]) * (1 + 1e-9)
    assert float(λ[-1] / λ[0]) * (1 - 1e-9) <= number(said["condition_damped_high"]) < float("inf")


def test_layers_are_the_blocks_on_the_diagonal() -> None:
    subject = net("tanh")
    one, two = dense(subject=subject, layers=True), free(subject=subject, layers=True, trace_tol=0.02, products=4000)
    state, exact = one.step(one.init(), 0)
    said = two.answer(carried(two)[0].state).values
    names = two.labels()["layer_top"][0]
    assert list(names) == ["hidden.0", "output"]
    torch.testing.assert_close(said["layer_top"], exact["layer_top"], rtol=0.02, atol=1e-6)
    within = (said["layer_trace"] - exact["layer_trace"]).abs()
    assert bool((within <= 3 * said["layer_trace_error"] + 1e-9).all())
    assert exact["layer_trace"].sum() == pytest.approx(float(state["hessian"].trace()))


def test_the_distance_to_another_operator() -> None:
    subject = net("tanh", train=0)
    one, two = (way(subject=subject, against="gauss_newton") for way in (dense, free))
    state = one.step(one.init(), 0)[0]
    exact = number(one.answer(state).values["distance"])
    said = two.answer(carried(two)[0].state).values
    assert abs(number(said["distance"]) - exact) <= 5 * number(said["distance_error"]) + 0.02 * exact


def test_rows_and_those_held_out() -> None:
    subject = net("tanh", held_out=0.25)
    data = subject.data
    assert data.held_out is not None
    few = dense(subject=subject, rows=7).problem.function
    assert float(few.call(few.start)) == pytest.approx(float(subject.losses(subject.rows[:7], data.targets[:7]).mean()))
    out = dense(subject=subject, held_out=True).problem.function
    kept = data.held_out
    assert float(out.call(out.start)) == pytest.approx(
        float(subject.losses(kept.inputs.flatten(1), kept.targets).mean())
    )


def test_the_users_network_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3)).double()
    module.train()
    module(torch.randn(9, 6, dtype=torch.float64)).sum().backward()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    grads = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    modes = [part.training for part in module.modules()]
    torch.manual_seed(11)
    noise = torch.get_rng_state()
    topic = free(subject=network(module, rows(), name="own"))
    scan, _ = carried(topic)
    topic.answer(scan.state)
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(torch.equal(grads[name], p.grad) for name, p in module.named_parameters() if p.grad is not None)
    assert len(grads) == len(list(module.parameters()))
    assert [part.training for part in module.modules()] == modes


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"limit": 10, "matrix": "always"}, "matrix=never"),
        ({"operator": "jacobian"}, "operator"),
        ({"matrix": "perhaps"}, "matrix"),
        ({"parameters": ["nowhere"]}, "nowhere.*hidden.0"),
        ({"held_out": True}, "data.held_out"),
        ({"rows": 10_000}, "rows=10000"),
        ({"against": "hessian"}, "against"),
        ({"tol": 0.0}, "tol"),
        ({"top": 0}, "top"),
    ],
)
def test_a_knob_that_cannot_be_is_said(knobs: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        dense(subject=net(train=0), **knobs).labels()


def plain(call, n: int, at: float = 1.0) -> Function:
    start = torch.full((n,), at, dtype=torch.float64)
    return Function("f", call, start, tuple(f"x{i}" for i in range(n)))


@pytest.mark.parametrize(
    "knobs", [{"operator": "fisher"}, {"parameters": ["x0"]}, {"rows": 3}, {"layers": True}, {"held_out": True}]
)
def test_what_only_networks_have_is_refused_for_functions(knobs: dict) -> None:
    with pytest.raises(UserError, match=next(iter(knobs))):
        dense(subject=plain(lambda x: (x**2).sum(), 3), **knobs)


def test_a_definite_matrix_has_a_condition_number_between_bounds() -> None:
    λ = torch.cat([torch.ones(1), torch.linspace(10, 50, 299)]).double()
    more = {"tol": 1e-6, "products": 2000, "check": 40, "probes": 0, "trace_tol": None}
    topic = free(subject=plain(lambda x: (λ * x**2).sum() / 2, 300), **more)
    said = topic.answer(carried(topic)[0].state).values
    assert said["curvature"] == "positive definite"
    assert number(said["condition"]) == pytest.approx(50, rel=1e-3)
    assert number(said["condition_low"]) <= 50 + 1e-6
    assert number(said["condition_high"]) >= 50 - 1e-6
    assert said["conditioning"] == "well-conditioned"


@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_flat_function_and_few_variables(n: int) -> None:
    topic = free(subject=plain(lambda x: x.sum(), n))
    scan, _ = carried(topic)
    answer = topic.answer(scan.state)
    assert bool((answer.values["eigenvalues"] == 0).all())
    assert scan.status is Status.COMPLETED
    assert "nan" not in answer.sentence.split()


def test_a_saddle_is_known_by_its_ends() -> None:
    λ = torch.cat([torch.tensor([-3.0, 5.0]), torch.ones(40)]).double()
    topic = free(subject=plain(lambda x: (λ * x**2).sum() / 2, 42, at=0.0))
    assert topic.answer(carried(topic)[0].state).values["kind"] == "saddle"


def test_a_trace_that_cancels_is_held_against_the_sizes() -> None:
    """tr = 0 beside Σ|λ|: no number of probes is within 5 % of it."""
    draw = torch.Generator().manual_seed(0)
    Q, _ = torch.linalg.qr(torch.randn(80, 80, generator=draw, dtype=torch.float64))
    λ = torch.linspace(1, 2, 40, dtype=torch.float64)
    H = (Q * torch.cat([λ, -λ])) @ Q.T
    topic = free(subject=plain(lambda x: x @ H @ x / 2, 80), top=1, check=0, tol=0.1, probes=8)
    answer = topic.answer(carried(topic)[0].state)
    assert abs(number(answer.values["trace"])) <= 3 * number(answer.values["trace_within"])
    assert number(answer.values["trace_within"]) <= 0.05 * 120 / 2 * 1.2
    assert "of Σ|λ|, about 1" in answer.sentence
    assert "not within" not in answer.sentence
    assert number(answer.values["products"]) < 400


def test_no_clock_decides_how_columns_go_together() -> None:
    """Two fresh runs have the same bits, whatever the machine is doing."""
    runs = [carried(free(subject=net("tanh", seed=1), lanes=None)) for _ in range(2)]
    for name, column in runs[0][1].columns.items():
        assert torch.equal(column.data.nan_to_num(7.5), runs[1][1].columns[name].data.nan_to_num(7.5)), name


def test_all_that_is_evaluated_keeps_to_the_memory_given() -> None:
    """No pass has all rows: gradients, products, cuts through the loss and evidence go a chunk at a time."""
    subject = net("tanh")
    whole, cut = (free(subject=subject, memory=memory) for memory in (None, 4e-6))
    f, g = whole.problem.function, cut.problem.function
    x = f.start + 0.1
    seen = []
    handle = subject.module.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    torch.testing.assert_close(g.call(x), f.call(x), rtol=1e-13, atol=0)
    torch.testing.assert_close(value_and_gradient(g.call, x)[1], value_and_gradient(f.call, x)[1])
    assert max(seen) == 60
    seen.clear()
    scan, _ = carried(cut)
    assert max(seen) < 30
    handle.remove()
    assert {row.verdict for row in scan.evidence} <= GOOD


def test_a_basis_too_large_for_double_precision_is_kept_in_that_of_the_products(monkeypatch: object) -> None:
    more = {"seed": 0, "standardize": False, "held_out": 0.0, "dtype": torch.float32, "device": "cpu"}
    data = blobs(rows=20, classes=3, dimension=6, separation=4.0, **more)
    module = partial(Mlp, width=8, depth=1, activation="tanh", bias=True)
    subject = network(module, data, name="net", dtype=torch.float32)
    wide = free(subject=subject)
    monkeypatch.setattr("calclab.topic.hessian.matrix_free.ROOM", 0)
    narrow = free(subject=subject, layers=True)
    states = [carried(topic)[0] for topic in (wide, narrow)]
    one, two = (topic.answer(scan.state).values for topic, scan in zip((wide, narrow), states, strict=True))
    assert states[1].state["found"]["edges"]["pairs"]["vectors"].dtype == torch.float32
    gap = (one["eigenvalues"] - two["eigenvalues"]).abs()
    assert bool((gap <= one["residuals"] + two["residuals"]).all())
    assert {row.verdict for row in states[1].evidence} <= GOOD | {Verdict.INCONCLUSIVE}


def test_rounding_that_forbids_a_tolerance_is_said() -> None:
    more = {"seed": 0, "standardize": False, "held_out": 0.0, "dtype": torch.float32, "device": "cpu"}
    data = blobs(rows=20, classes=3, dimension=6, separation=4.0, **more)
    module = partial(Mlp, width=8, depth=1, activation="tanh", bias=True)
    topic = free(subject=network(module, data, name="net", dtype=torch.float32), tol=1e-9)
    answer = topic.answer(carried(topic)[0].state)
    assert "as near as the rounding of float32 allows, not to tol=1e-09: type dtype=float64" in answer.sentence
    assert number(answer.values["products_for_eigenvalues"]) < 200


def test_a_budget_that_is_spent_is_said() -> None:
    topic = free(subject=net("tanh", train=0), tol=1e-12, top=8, products=5)
    answer = topic.answer(carried(topic)[0].state)
    assert "not all to tol=1e-12 within products=5" in answer.sentence
    assert number(answer.values["products_for_eigenvalues"]) <= 6


def test_single_precision_computes_with_double_sums() -> None:
    more = {"seed": 0, "standardize": False, "held_out": 0.0, "dtype": torch.float32, "device": "cpu"}
    data = blobs(rows=20, classes=3, dimension=6, separation=4.0, **more)
    module = partial(Mlp, width=8, depth=1, activation="tanh", bias=True)
    topic = free(subject=network(module, data, name="net", dtype=torch.float32))
    scan, _ = carried(topic)
    assert topic.answer(scan.state).values["eigenvalues"].dtype == torch.float64
    assert {row.verdict for row in scan.evidence} <= GOOD | {Verdict.INCONCLUSIVE}


def test_every_value_has_labels_and_every_picture_its_values() -> None:
    topic = free(subject=net("tanh"), layers=True, diagonal=True)
    scan, sink = carried(topic)
    labels = topic.labels()
    for name, column in sink.columns.items():
        if column.data.ndim > 1:
            assert tuple(map(len, labels[name])) == tuple(column.data.shape[1:]), name
    logged = set(sink.columns) | {"step"}
    for picture in topic.pictures():
        assert set(picture.shows) <= logged, picture
    spent = sink.columns["products"].data
    assert bool((spent.diff() >= 0).all())
    assert float(spent[-1]) == number(topic.answer(scan.state).values["products"])


# --- numbers ---


def test_bins_count_every_eigenvalue_once() -> None:
    λ = torch.tensor([-3.0, -1e-9, 0.0, 1e-9, 2e-4, 0.5, 0.5, 7.0], dtype=torch.float64)
    table = spectrum.bins(λ, λ[:0], λ[:0], 1e-6)
    assert float(table[:, 2].sum()) == len(λ)
    assert bool((table[1:, 0] == table[:-1, 1]).all())
    for low, high, count in table.tolist():
        assert count == int(((λ >= low) & (λ < high)).sum())


def test_sampled_bins_keep_their_weight() -> None:
    maker = torch.Generator().manual_seed(1)
    nodes = torch.randn(300, generator=maker, dtype=torch.float64)
    weights = torch.rand(300, generator=maker, dtype=torch.float64)
    table = spectrum.bins(nodes[:4], nodes[4:], weights[4:], 0.3)
    assert float(table[:, 2].sum()) == pytest.approx(4 + float(weights[4:].sum()))
    assert bool((table[:, 2] >= 0).all())


def test_outliers_are_where_the_ratio_is_largest() -> None:
    λ = torch.tensor([9.0, 8.0, 7.5, 6.0, 1.0, 0.9, 0.8], dtype=torch.float64)
    assert spectrum.outliers(λ, 5) == 4
    assert spectrum.outliers(λ[:4], 5) is None
    assert spectrum.outliers(torch.cat([λ[:3], -λ]), 5) is None


class Three(nn.Module):
    """Three parameters, ``times`` of which are added to the outputs."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.shift, self.times = nn.Parameter(torch.ones(3)), times

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] + self.times * self.shift


@pytest.mark.parametrize(
    ("times", "words"), [(0.0, "condition = infinite: singular"), (float("nan"), "is not finite at the point")]
)
def test_a_matrix_of_zeros_and_one_that_is_not_finite(times: float, words: str) -> None:
    topic = free(subject=network(Three(times), rows(), name="three"), layers=True)
    assert words in topic.answer(carried(topic)[0].state).sentence


class Sloping(nn.Module):
    """Outputs and what torch.func says of their slope."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.output = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        def total(row: Tensor) -> Tensor:
            return self.output(nn.functional.silu(self.first(row))).sum()

        return torch.func.vmap(torch.func.grad(total))(x)[:, :3] + self.output(torch.tanh(self.first(x)))


def test_a_network_with_derivatives_in_it_goes_in_chunks() -> None:
    subject = network(Sloping(), rows(), name="sloping")
    scans = [carried(free(subject=subject, memory=memory))[0] for memory in (None, 2e-5)]
    first, second = (free(subject=subject).answer(scan.state).values["eigenvalues"] for scan in scans)
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)
    assert {row.verdict for scan in scans for row in scan.evidence} <= GOOD


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("operator", ["hessian", "gauss_newton"])
def test_no_eigenvalue_is_drawn_where_the_run_says_there_is_none(activation: str, operator: str) -> None:
    """Against the matrix: nothing beyond its ends but for their residuals, and as many eigenvalues up to any place as
    it has there, but for the resolution and what probes leave open."""
    subject = net(activation, train=60)
    scan, sink = carried(free(subject=subject, seed=0, operator=operator, probes=64, depth=12))
    whole, _ = carried(dense(subject=subject, seed=0, operator=operator))
    found, λ = scan.state["found"], whole.state["eigenvalues"]
    residual = float(found["edges"]["pairs"]["residuals"].max())
    table, density = (sink.columns[name].data[-1] for name in ("spectrum", "density"))
    drawn = table[table[:, 2] > 0]
    slack = residual + 1e-9 * float(λ.abs().max())
    assert float(drawn[0, 0]) >= float(λ[0]) - slack
    assert float(drawn[-1, 1]) <= float(λ[-1]) + slack
    assert bool((density[:, 0] >= float(λ[0]) - slack).all())
    assert float(torch.trapezoid(density[:, 1], density[:, 0])) == pytest.approx(1, abs=0.1)
    assert float(table[:, 2].sum()) == pytest.approx(len(λ), rel=1e-6)
    blur = float(torch.pi * (λ[-1] - λ[0]) / 24)
    for edge, count in zip(table[:, 1].tolist(), table[:, 2].cumsum(0).tolist(), strict=True):
        least, most = (int((λ < edge + shift).sum()) for shift in (-blur, blur))
        assert least - 0.05 * len(λ) <= count <= most + 0.05 * len(λ)


def test_bins_end_where_the_bounds_are() -> None:
    """Values next to a bound are broadened to its inner side, and weigh as much; no bin has a width beyond."""
    nodes = torch.tensor([0.0, 0.01, 1.0], dtype=torch.float64)
    within = spectrum.Bounds(-0.02, 1.5, -0.01, 1.1)
    table = spectrum.bins(torch.tensor([1.5], dtype=torch.float64), nodes, torch.ones(3), 0.3, within)
    assert float(table[:, 2].sum()) == pytest.approx(4)
    assert float(table[0, 0]) == -0.02
    assert float(table[-1, 1]) == 1.5
    beyond = (table[:, 1] <= -0.01) | ((table[:, 0] >= 1.1) & (table[:, 0] < 1.2))
    assert float(table[beyond, 2].sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bound", ["top", "bottom", "settled"])
def test_bounds_are_those_of_what_was_found(bound: str) -> None:
    """Unbounded where nothing was looked for; what was not found is held to the innermost of what
    was, where that has converged."""
    values = torch.tensor([5.0, 3.0, -2.0], dtype=torch.float64)
    made = {"vectors": torch.eye(3), "estimates": values.abs(), "products": torch.tensor(3)}
    ends = {"upper": torch.tensor(torch.inf), "lower": torch.tensor(-torch.inf)}
    converged = torch.tensor([True, bound == "settled", True])
    pairs = Pairs(values=values, residuals=torch.full((3,), 0.5), converged=converged, top=2, **made, **ends)
    if bound == "top":
        pairs = replace(pairs, values=values[:2], residuals=pairs.residuals[:2], converged=converged[:2])
    nodes = torch.tensor([-1.0, 3.4, 3.6], dtype=torch.float64)
    found = spectrum.bounds(pairs, nodes, positive=False)
    assert found.most == 5.5
    assert found.high == (3.6 if bound == "settled" else 5.5)
    assert found.least == (-torch.inf if bound == "top" else -2.5)
    assert found.low == (-torch.inf if bound == "top" else -2.5)
    assert spectrum.bounds(pairs, nodes.abs(), positive=True).least == 0


def sharp_bend(δ: float) -> Function:
    """δ² log cosh(x/δ) + y²: ∂²/∂x² is 1 within δ of 0, and nothing further out."""

    def call(p: Tensor) -> Tensor:
        z = p[0] / δ
        return δ * (torch.logaddexp(z, -z) - math.log(2)) + p[1].square()

    return Function("bend", call, torch.zeros(2, dtype=torch.float64), ("x", "y"))


@pytest.mark.parametrize("δ", [1e-9, 1e-5, 1.0])
def test_a_curvature_is_not_refuted_by_steps_beyond_the_bend_that_it_describes(δ: float) -> None:
    v, none = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    row = along(sharp_bend(δ), torch.tensor(1 / δ, dtype=torch.float64), v, none, "λ", 0)
    assert row.verdict is Verdict.CONSISTENT
    assert row.reference == pytest.approx(1 / δ, rel=1e-4)


def test_a_wrong_curvature_is_refuted_by_steps_of_two_sizes() -> None:
    v, none = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    row = along(sharp_bend(1.0), torch.tensor(2.1, dtype=torch.float64), v, none, "λ", 0)
    assert row.verdict is Verdict.REFUTED
    assert row.reference == pytest.approx(2, rel=1e-6)


def test_eigenvalues_closer_than_the_tolerance_are_not_refuted_for_their_place() -> None:
    """Of 1, 4e-4, 3e-4, ... the second is sought to 1e-3: any of the others will do, and none beyond the bound."""
    λ = torch.tensor([1.0, 4e-4, 3e-4, 1e-4], dtype=torch.float64)
    A = LinearOperator((4, 4), lambda V: λ[:, None] * V, lambda V: λ[:, None] * V, True, λ.dtype, λ.device)
    none, far = torch.zeros(2, dtype=torch.float64), torch.tensor(1e-3, dtype=torch.float64)
    vectors = torch.eye(4, dtype=torch.float64)[:, [0, 2]]
    pairs = Pairs(λ[[0, 2]], vectors, none + 1e-6, none, none == 0, torch.tensor(2), 2, far, -far)
    assert truth(A, pairs, torch.float64, None, 0)[0].verdict is Verdict.INCONCLUSIVE
    for wrong in (
        replace(pairs, upper=torch.tensor(3.5e-4, dtype=torch.float64)),
        replace(pairs, values=torch.tensor([1.0, 2e-4], dtype=torch.float64)),
        replace(pairs, upper=torch.tensor(torch.inf, dtype=torch.float64)),
    ):
        assert truth(A, wrong, torch.float64, None, 0)[0].verdict is Verdict.REFUTED


def test_settled_pairs_are_found_once_for_all_steps_and_anew_for_other_tensors() -> None:
    """Pairs are unpacked anew at every step, of the same tensors, which no == may compare."""
    made = LinearOperator(lambda V: V, lambda V: V, (3, 3), True, dtype=torch.float64, device=torch.device("cpu"))
    bulk = Bulk(made, 1, 1, 0)
    three, eye = torch.ones(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    pairs = Pairs(three, eye, three, three, torch.tensor([True, False, True]), torch.tensor(3), 3, three[0], three[1])
    first = bulk.settled(pairs)
    assert first.values.shape == (2,)
    assert bulk.settled(replace(pairs)) is first
    assert bulk.settled(replace(pairs, converged=torch.tensor([True, True, True]))).values.shape == (3,)
