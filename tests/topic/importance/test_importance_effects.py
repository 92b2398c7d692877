"""Directions, dependence, ranking.csv and pictures of importance, on networks whose answers are known."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from torch import nn

import calclab
from calclab.figure.draw.canvas import png
from calclab.figure.kinds import figure
from calclab.figure.record.ranking import score, span
from calclab.topic.importance.effects import quantiles


class Known(nn.Module):
    """3 a - 2 b + a² c: a raises it, b lowers it, c works by a²."""

    def forward(self, x):
        a, b, c = x.unbind(1)
        return (3 * a - 2 * b + a**2 * c).unsqueeze(1)


def rows(count=300):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def asked(method, **knobs):
    x = rows()
    data = (x, Known()(x))
    return calclab.importance(calclab.loss(Known().double(), nn.MSELoss(), data), method=method, trust=False, **knobs)


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_direction_is_the_sign_of_the_effect(method):
    found = asked(method, target="output.0").frames["direction"].iloc[-1].tolist()
    assert found[0] > 0.7
    assert found[1] == pytest.approx(-1, abs=1e-9)
    assert found[2] > 0.3


def test_dependence_of_a_known_function_is_its_mean_over_the_rows():
    found = asked("gradient", target="output.0").frames["dependence"]
    table = torch.tensor(found.to_numpy())
    x = rows()[::2]  # 200 of 300 rows at most: every second
    for c in (0, 1, 2):
        for _, _, at, mean, low, high in table[table[:, 0] == c].tolist():
            points = x.clone()
            points[:, c] = at
            y = Known()(points)
            assert mean == pytest.approx(float(y.mean()), rel=1e-9)
            assert low <= mean <= high
    b = table[table[:, 0] == 1]  # by b it is a straight line, the same in every row
    torch.testing.assert_close(b[:, 5] - b[:, 4], torch.zeros(len(b), dtype=torch.float64), atol=1e-9, rtol=0)


def test_few_values_are_all_looked_at_and_many_by_their_quantiles():
    assert quantiles(torch.tensor([2.0, 0.0, 2.0, 1.0])).tolist() == [0, 1, 2]
    places = quantiles(torch.arange(1001.0))
    assert len(places) == 25
    assert (float(places[0]), float(places[-1])) == (20, 980)


def test_one_order_in_the_table_and_in_the_picture(tmp_path):
    x = rows(60)
    data = (x, Known()(x))
    result = calclab.importance(
        calclab.loss(Known().double(), nn.MSELoss(), data), method="gradient", target="output.0", retrains=0
    )
    result.save(tmp_path / "run")
    with (tmp_path / "run" / "ranking.csv").open(encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    panel = result.figures.record("importance")
    assert [row["feature"] for row in told] == list(panel.names)
    assert [int(row["rank"]) for row in told] == [1, 2, 3]
    for row, value, way, low, high in zip(told, panel.values, panel.ways, panel.low, panel.high, strict=True):
        assert abs(value) == pytest.approx(float(row["importance"]))
        assert math.copysign(1, value) == (way or 1)
        ends = sorted(abs(end) for end in (low, high))
        assert ends == pytest.approx([float(row["low"]), float(row["high"])])
    assert png(figure(panel))[:4] == b"\x89PNG"
    assert png(figure(result.figures.record("dependence")))[:4] == b"\x89PNG"


def test_the_score_is_said_with_that_of_guessing():
    assert score((0.967, 0.627, 1.0), "right") == "held out: 96.7% right (guessing 62.7%)"
    assert "no better than guessing" in score((-0.05, 0.0, 0.0), "r²")
    assert score((), "r²") == ""
    assert (span(2, 2), span(1, 7)) == ("2", "1–7")


def test_images_are_shown_with_their_attributions():
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    y = (x.mean((1, 2, 3)) > 0.5).long()
    result = calclab.importance(
        calclab.loss(net, nn.CrossEntropyLoss(), (x, y)), method="gradient_x_input", trust=False
    )
    panel = result.figures.record("images")
    assert panel.captions[0].startswith("row 0: ")
    assert len(panel.images) == len(panel.under) <= 12
    torch.testing.assert_close(torch.tensor(panel.under[0], dtype=torch.float64), x[0, 0])
    assert panel.signed
    assert png(figure(panel))[:4] == b"\x89PNG"
