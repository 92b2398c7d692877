"""Codes have no derivative: what there is, is by the output of the embedding, named, and told of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.core import Rows
from calclab.subject.network.embedding import behind_embedding

G = torch.Generator().manual_seed(0)
IDS, LABELS = torch.randint(0, 20, (30, 6), generator=G), torch.randint(0, 3, (30,), generator=G)


class Reader(nn.Module):
    """Tokens and places, a nonlinear layer, three classes; of masked places nothing is read."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(20, 4), nn.Embedding(6, 4)
        self.last = nn.Linear(24, 3)

    def behind(self, e: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        h = torch.tanh(e + self.wpe(torch.arange(6)))
        h = h if attention_mask is None else h * attention_mask[..., None]
        result: Tensor = self.last(h.flatten(1))
        return result

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.behind(self.wte(input_ids), attention_mask)


def reader() -> Reader:
    torch.manual_seed(0)
    return Reader().double()


@pytest.mark.parametrize("form", ["ids", "dict"])
def test_a_jacobian_of_tokens_is_by_the_embedding(form: str) -> None:
    model = reader()
    mask = torch.ones(30, 6, dtype=torch.long)
    given = (IDS, LABELS) if form == "ids" else [{"input_ids": IDS, "attention_mask": mask, "labels": LABELS}]
    net = calclab.outputs(model, given)
    assert not net.data.inputs.is_floating_point()
    result = calclab.jacobian(net, row=2, figures=False)
    e = model.wte(IDS[2:3]).detach()
    true = torch.autograd.functional.jacobian(lambda e: model.behind(e)[0], e).reshape(3, 24)
    torch.testing.assert_close(result.jacobian, true)
    assert any("derivatives are by the output of the embedding wte, 6 × 4" in note for note in result.outcome.notes)
    assert "behind its embedding wte" in result.sentence
    assert calclab.jacobian(net, rows=None, figures=False).verdict == "consistent"


def test_importance_of_a_token_is_one_number() -> None:
    model = reader()
    net = calclab.outputs(model, (IDS, LABELS))
    known = {"figures": False, "trust": False, "bootstrap": 0}
    result = calclab.importance(net, method="integrated_gradients", baseline="zeros", target="output.0", **known)
    assert result.verdict == "consistent"
    # here tokens do not interact, and the share of each is what it adds to the output of a zero in its place
    places = model.wpe.weight.detach()
    moved = torch.tanh(model.wte(IDS).detach() + places) - torch.tanh(places)
    true = (moved * model.last.weight.detach()[0].reshape(6, 4)).sum(-1)
    found = torch.tensor(result.frames["attributions"].iloc[:, -6:].to_numpy())
    torch.testing.assert_close(found, true.abs(), rtol=1e-6, atol=1e-8)
    assert behind_embedding(net).data.columns == tuple(f"token[{k}]" for k in range(6) for _ in range(4))
    for method in ("gradient", "ablation", "permutation"):
        assert "token[" in calclab.importance(net, method=method, rows=10, **known).sentence


def test_layers_and_parameters_keep_their_names() -> None:
    net = calclab.outputs(reader(), (IDS, LABELS))
    behind = behind_embedding(net)
    assert behind.shapes == net.shapes
    assert [name for name, _ in behind.layers()] == [name for name, _ in net.layers()]
    torch.testing.assert_close(behind.evaluate(behind.data.inputs), net.evaluate(net.data.inputs))
    assert behind_embedding(behind) is behind


def test_rows_beyond_memory_stay_there() -> None:
    model, batches = reader(), [(IDS[k : k + 5], LABELS[k : k + 5]) for k in range(0, 30, 5)]
    behind = behind_embedding(calclab.outputs(model, batches, memory=1e-8))
    assert isinstance(behind.data.inputs, Rows)
    torch.testing.assert_close(behind.data.inputs[:4], model.wte(IDS[:4]).detach().flatten(1))


def test_what_depends_on_codes_elsewhere_is_refused() -> None:
    class Twice(Reader):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return super().forward(input_ids) * (1 + input_ids[:, :1])

    class Nowhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.last(x.double())
            return result

    for module, words in ((Twice(), "more than the embedding wte depends"), (Nowhere(), "no nn.Embedding")):
        net = calclab.outputs(module.double(), (IDS, LABELS))
        for ask in (calclab.jacobian, calclab.importance):
            with pytest.raises(calclab.UserError, match=words):
                ask(net, figures=False)
