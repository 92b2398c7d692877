from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from calclab.core import Function, Verdict
from calclab.errors import UserError
from calclab.subject.formula import formula
from calclab.topic.partial import Partial
from calclab.topic.partial.parameters import ENTRIES

partials = partial(Partial, layer=None)


def test_the_notebooks_formula_has_partials_8_and_5_and_symmetric_mixed_ones(walk):
    f = formula(name="f", expr="x**2*y + x*y**2", at=[1.0, 2.0], dtype=torch.float64, device="cpu")
    found = walk(partials(subject=f))
    values = found.answer.values
    assert values["value"] == 6
    assert values["gradient"].tolist() == [8, 5]
    assert (values["∂f/∂x"], values["∂f/∂y"]) == (8, 5)
    assert values["mixed_partials"].tolist() == [[4, 6], [6, 2]]  # [[2y, 2x + 2y], [2x + 2y, 2x]]
    assert values["asymmetry"] == 0
    assert "∂f/∂x = 8; ∂f/∂y = 5" in found.answer.sentence
    assert found.answer.latex
    assert Verdict.CERTIFIED in found.verdicts
    assert found.verdicts <= {Verdict.CERTIFIED, Verdict.CONSISTENT}
    assert any("symmetry" in row.method for row in found.evidence)


def test_a_wrong_second_derivative_shows_as_asymmetry(walk):
    class Skewed(torch.autograd.Function):
        """xy with the gradient (y, 3x): no function has it."""

        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z[0] * z[1]

        @staticmethod
        def backward(ctx, up):
            (z,) = ctx.saved_tensors
            return up * torch.stack([z[1], 3 * z[0]])

    start = torch.tensor([1.5, -0.5], dtype=torch.float64)
    topic = partials(subject=Function("skewed", Skewed.apply, start, ("x", "y")))
    state, values = topic.step(topic.init(), 0)
    assert values["asymmetry"] == 2
    from calclab.numerics.agreement import identity

    H = state["mixed_partials"]
    assert identity("mixed", "symmetry", H, H.T, 0).verdict is Verdict.REFUTED


def test_a_kink_is_named_and_not_given_a_slope(walk):
    f = formula(name="f", expr="abs(x) + y**2", at=[0.0, 3.0], dtype=torch.float64, device="cpu")
    found = walk(partials(subject=f))
    assert "∂f/∂x: does not exist here (kink); ∂f/∂y = 6" in found.answer.sentence
    assert Verdict.UNDEFINED in found.verdicts


def test_what_only_looks_like_a_kink_has_its_measured_slope(walk):
    f = formula(name="f", expr="x**y + cbrt(z**3)", at=[0.0, 1.0, 0.0], dtype=torch.float64, device="cpu")
    sentence = walk(partials(subject=f)).answer.sentence
    assert "∂f/∂x = 1; ∂f/∂y = 0 (measured from both sides, not proven); ∂f/∂z = 1 (measured" in sentence
    assert "kink" not in sentence


class Forgetful(torch.autograd.Function):
    """exp(x0 x1), whose backward multiplies by numbers of NumPy: the graph of the gradient is lost."""

    @staticmethod
    def forward(ctx, x):
        value = torch.exp(x[0] * x[1])
        ctx.saved = (value * x.flip(0)).detach().numpy()
        return value

    @staticmethod
    def backward(ctx, up):
        return up * torch.from_numpy(ctx.saved)


def test_second_partials_of_a_program_that_forgets_its_graph_are_refuted(walk):
    start = torch.tensor([0.7, 1.3], dtype=torch.float64)
    found = walk(partials(subject=Function("f", Forgetful.apply, start, ("x0", "x1"))))
    assert Verdict.REFUTED in {row.verdict for row in found.evidence if row.quantity == "second partials"}
    assert "second partials: refuted" in found.answer.sentence
    right = walk(partials(subject=Function("f", lambda x: torch.exp(x[0] * x[1]), start, ("x0", "x1"))))
    truth = torch.tensor([[4.19851, 4.74506], [4.74506, 1.21732]], dtype=torch.float64)
    torch.testing.assert_close(right.answer.values["mixed_partials"], truth, atol=1e-5, rtol=0)
    assert right.verdicts == {Verdict.CONSISTENT}


def test_second_partials_of_a_formula_are_held_against_the_proof(walk):
    f = formula(name="f", expr="1e20*x + (1-cos(y))/y**2", at=[1.0, 1e-9], dtype=torch.float64, device="cpu")
    found = walk(partials(subject=f))
    (row,) = [row for row in found.evidence if row.quantity == "second partials"]
    assert row.verdict is Verdict.SUSPECT
    assert row.reference == pytest.approx(-1 / 12)
    assert "lost their digits" in found.answer.sentence


def test_second_partials_that_are_lost_are_measured(walk):
    start = torch.tensor([0.3, -0.7], dtype=torch.float64)
    f = Function("f", lambda x: torch.exp(-(torch.linalg.norm(x - start) ** 2)), start, ("x", "y"))
    sentence = walk(partials(subject=f)).answer.sentence
    assert "were measured from both sides" in sentence
    assert "kink" not in sentence


def test_linear_layer_with_sum_as_loss_has_the_notebooks_gradients(walk, make_data, make_network):
    rows = make_data(4, (3,), 2)
    net = make_network(lambda: nn.Linear(3, 2), rows, loss="sum")
    values = walk(partials(subject=net)).answer.values
    assert values["shape of weight"] == "(2, 3)"
    assert values["shape of bias"] == "(2,)"
    torch.testing.assert_close(values["grad.bias"], torch.full((2,), 4.0, dtype=torch.float64))
    torch.testing.assert_close(values["grad.weight"], rows.inputs.sum(0).expand(2, 3))
    torch.testing.assert_close(values["column_sums"], rows.inputs.sum(0).expand(2, 3))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def test_network_gradients_are_those_of_backward(walk, make_data, make_network):
    rows = make_data(7, (5,), 3, classification=True)
    net = make_network(perceptron, rows)
    found = walk(partials(subject=net))
    parameters = {name: p.clone().requires_grad_() for name, p in net.parameters().items()}
    net.loss(torch.func.functional_call(net.module, parameters, (rows.inputs,)), rows.targets).backward()
    total = 0.0
    for name, p in parameters.items():
        torch.testing.assert_close(found.answer.values[f"grad.{name}"], p.grad, rtol=1e-12, atol=1e-15)
        assert found.answer.values[f"shape of {name}"] == str(tuple(p.shape))
        total += float(p.grad.norm()) ** 2
    assert float(found.values[0]["layer_norms"].norm()) == pytest.approx(total**0.5)
    assert found.verdicts == {Verdict.CONSISTENT}


def test_layer_restricts_what_is_shown_and_a_wrong_one_is_answered_with_the_nearest(walk, make_data, make_network):
    net = make_network(perceptron, make_data(7, (5,), 3))
    values = walk(partials(subject=net, layer="2")).answer.values
    assert {name for name in values if name.startswith("grad.")} == {"grad.2.weight", "grad.2.bias"}
    with pytest.raises(UserError, match=r"layer=hidden.*There are: 0, 2"):
        partials(subject=net, layer="hidden")
    named = make_network(lambda: nn.Sequential(*[nn.Flatten()]).append(nn.Linear(5, 3)), make_data(7, (5,), 3))
    with pytest.raises(UserError, match=r"layer=10: .*Did you mean 1"):
        partials(subject=named, layer="10")


def test_large_gradients_are_told_by_shape_and_not_written(make_data, make_network):
    wide = ENTRIES // 5 + 1
    net = make_network(lambda: nn.Sequential(nn.Linear(5, wide), nn.Linear(wide, 1)), make_data(2, (5,), 1))
    topic = partials(subject=net)
    state, values = topic.step(topic.init(), 0)
    assert "grad.0.weight" not in values
    assert "grad.0.bias" in values
    assert topic.answer(state).values["shape of 0.weight"] == f"({wide}, 5)"


def test_convolution_gradients_are_tables_with_one_row_for_each_kernel(walk, make_data, make_network):
    rows = make_data(3, (1, 4, 4), 2, classification=True)
    net = make_network(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), rows)
    found = walk(partials(subject=net))
    assert found.values[0]["grad.0.weight"].shape == (2, 9)
    assert found.answer.values["shape of 0.weight"] == "(2, 1, 3, 3)"


def test_what_does_not_suit_is_refused():
    vector = formula(name="v", expr=["x0 + x1", "x0*x1"], at=[1.0, 2.0], dtype=torch.float64, device="cpu")
    with pytest.raises(UserError, match="jacobian"):
        partials(subject=vector)
    scalar = formula(name="s", expr="x0**2", at=[1.0], dtype=torch.float64, device="cpu")
    with pytest.raises(UserError, match=r"layer=hidden\.0"):
        partials(subject=scalar, layer="hidden.0")


def test_a_step_reads_no_number_back(meta):
    topic = partials(subject=meta(lambda x: (x**3).sum() * x[0], 4))
    _, values = topic.step(topic.init(), 0)
    assert values["mixed_partials"].shape == (4, 4)
    assert values["gradient"].device.type == "meta"
