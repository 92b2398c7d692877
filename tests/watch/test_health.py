"""What is an alarm, by the numbers alone: once each time, and not at the edge of stability."""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.errors import UserError
from calclab.watch.health import DEAD, NEVER, STEPS, Health, Layer, Sharpness
from calclab.watch.moment import Event
from calclab.watch.record import StepRecord
from calclab.watch.tell import HealthWarning, teller


def told(health: Health, losses: Iterable[float], norm: float = 1.0, rate: float = 0.1) -> list[Event]:
    return [
        event
        for k, loss in enumerate(losses, 1)
        for event in health.step(StepRecord(health.steps + 1, loss, True, {"w": norm}, [], [rate]))
    ]


def noisy(level: float, steps: int, seed: int = 0) -> list[float]:
    drawn = torch.Generator().manual_seed(seed)
    return (level * (1 + 0.2 * torch.rand(steps, generator=drawn))).tolist()


def test_a_loss_that_falls_is_no_news() -> None:
    assert told(Health(), [math.exp(-k / 50) + noise for k, noise in enumerate(noisy(0.1, 400))]) == []


def test_growth_is_told_once_and_again_after_it_has_ended() -> None:
    health = Health()
    first = told(health, [*noisy(1.0, 30), *noisy(10.0, 40)])
    assert [event.name for event in first] == ["loss grows"]
    assert first[0].step == 30 + STEPS
    assert [event.name for event in told(health, [*noisy(1.0, 60), *noisy(10.0, 40)])] == ["loss grows"]


def test_a_first_batch_that_was_easy_makes_no_alarm() -> None:
    """The others are five times as hard; on the first the loss is what it was."""
    assert told(Health(again=lambda: 1.0), [1.0, *noisy(5.0, 60)]) == []
    assert told(Health(again=lambda: 5.0), [1.0, *noisy(5.0, 60)])[0].name == "loss grows"


def test_a_spike_takes_more_than_one_batch() -> None:
    falls = [3.0 * math.exp(-k / 20) + 0.1 for k in range(150)]
    assert told(Health(), [*falls, 2.0, *noisy(0.1, 20)]) == []
    found = told(Health(), [*falls, 2.0, 2.0, 2.0, 2.0])
    assert [event.name for event in found] == ["loss spike"]


def test_of_a_loss_that_is_maximised_the_fall_is_told() -> None:
    assert told(Health(maximises=True), noisy(-1.0, 30)) == []
    assert told(Health(maximises=True), [1.0 + k for k in range(100)]) == []


def test_zero_gradients_and_rates_are_told_after_so_many_steps() -> None:
    assert told(Health(), noisy(1.0, DEAD - 1), norm=0.0) == []
    assert [event.name for event in told(Health(), noisy(1.0, DEAD + 20), norm=0.0)] == ["dead"]
    assert told(Health(), noisy(1.0, NEVER - 1), rate=0.0) == []
    assert [event.name for event in told(Health(), noisy(1.0, NEVER + 20), rate=0.0)] == ["rate zero"]


def test_what_never_had_a_gradient_is_named() -> None:
    found = told(Health(["w", "forgotten"]), noisy(1.0, NEVER))
    assert [(event.name, event.place) for event in found] == [("no gradient", "forgotten")]


def test_the_edge_of_stability_is_information_and_an_alarm_when_the_loss_grows() -> None:
    health = Health()
    told(health, [math.exp(-k / 40) for k in range(100)])
    (edge,) = health.sharp(Sharpness(1.04, 0.01, "3.attn.proj (Linear)", 0.1), 100)
    assert (edge.name, edge.kind) == ("edge", "")
    assert health.sharp(Sharpness(1.06, 0.01), 101) == []
    told(health, [0.5 * 1.3**k for k in range(8)])
    (alarm,) = health.sharp(Sharpness(1.4, 0.02, "3.attn.proj (Linear)", 0.0021), 110)
    assert (alarm.name, alarm.kind, alarm.place) == ("unstable", "bad", "3.attn.proj (Linear)")
    assert "λmax·lr/2 passed 1 in 3.attn.proj (Linear)" in alarm.text
    assert "the largest stable rate here is 0.0021 ± 1.4 %" in alarm.text


def test_a_ratio_whose_error_reaches_one_is_no_alarm() -> None:
    health = Health()
    told(health, [0.5 * 1.3**k for k in range(20)])
    assert [event.kind for event in health.sharp(Sharpness(1.1, 0.2), 20)] == [""]


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Layer(1.0, 2.0, 1.0, 100, 10, False), "update"),
        (Layer(1.0, 0.01, 1.0, 100, 10, False), ""),
        (Layer(1e-3, 2e-3, 1.0, 100, 10, False), ""),  # began at 0
        (Layer(1.0, 0.0, 1.0, 100, 10, True), "rounded away"),
        (Layer(1.0, 0.0, 0.0, 100, 10, True), ""),  # nothing to round
    ],
)
def test_layers(layer: Layer, name: str) -> None:
    health = Health()
    found = [event.name for k in range(4) for event in health.look({"w": layer}, k)]
    assert found == ([name] if name else [])


# --- in a loop --------------------------------------------------------------------------------------------------------


def falls(watch: calclab.Watch, model: nn.Module, criterion: nn.Module, at: int, steps: int = 8) -> list[Tensor]:
    """Steps of which one has a row of NaN; the gradient of that step, which is thrown away."""
    drawn = torch.Generator().manual_seed(0)
    for k in range(1, steps + 1):
        x = torch.randn(6, 3, generator=drawn)
        x[4, 1] = math.nan if k == at else x[4, 1]
        watch.optimizer.zero_grad()
        criterion(model(x), torch.zeros(6, 1)).backward()
        watch.optimizer.step()
        watch.step((x, torch.zeros(6, 1)))
    return [p.detach().clone() for p in model.parameters()]


def net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))


def test_the_replay_leaves_the_training_bit_for_bit_as_it_is() -> None:
    """Weights (NaN and all), buffers and random state of a training that is taken again, and of one that is not."""
    states = []
    for quantities in (["norms"], ["norms", "health"]):
        model, criterion = net(), nn.MSELoss()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        with calclab.Watch(model, criterion, optimizer, quantities=quantities, budget=None, tell=None) as watch:
            falls(watch, model, criterion, 5)
        assert len(watch.events) == (len(quantities) == 2)
        states.append([*(t.clone() for t in model.state_dict().values()), torch.get_rng_state()])
    for one, other in zip(*states, strict=True):
        assert torch.equal(one.view(torch.uint8), other.view(torch.uint8)) if one.ndim else one.equal(other)


def test_dropout_is_drawn_as_it_was() -> None:
    """A log that only one draw of the masks makes infinite: found again because the same is drawn."""

    class Rare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept = nn.functional.dropout(torch.ones(len(x), 6), 0.5).sum(1, keepdim=True)
            return x + (kept - 8).clamp(min=0).log() * 0 if int(kept.max()) > 100 else x / (kept[0] != 12)

    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 1), Rare())
    optimizer, criterion = torch.optim.SGD(model.parameters(), 1e-3), nn.MSELoss()
    with calclab.Watch(model, criterion, optimizer, quantities=["health"], budget=None, tell=None) as watch:
        for _ in range(400):
            x = torch.ones(4, 3)
            optimizer.zero_grad()
            loss = criterion(model(x), torch.zeros(4, 1))
            loss.backward()
            optimizer.step()
            watch.step((x, torch.zeros(4, 1)))
            if not loss.isfinite():
                break
    assert [event.place for event in watch.events] == ["1 (Rare)"]
    assert "a division by 0" in watch.events[0].text


def test_weights_that_the_last_step_broke_are_told_at_the_end() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with calclab.Watch(model, nn.MSELoss(), optimizer, quantities=["health"], tell=None) as watch:
        x = torch.ones(3, 2)
        nn.MSELoss()(model(x), torch.zeros(3, 1)).backward()
        optimizer.param_groups[0]["lr"] = math.inf
        optimizer.step()
        watch.step((x, torch.zeros(3, 1)))
    assert [event.name for event in watch.events] == ["nonfinite/weights"]
    assert "the learning rate was inf" in watch.events[0].text


def test_a_criterion_that_is_overheard_can_be_copied_pickled_and_outlives_the_watch() -> None:
    criterion, model = nn.MSELoss(), nn.Linear(2, 1)
    watch = calclab.Watch(model, criterion, torch.optim.SGD(model.parameters(), 0.1), tell=None)
    copied = copy.deepcopy(criterion)
    assert copied(torch.ones(2, 1, requires_grad=True), torch.zeros(2, 1)) == 1
    torch.save(criterion, io.BytesIO())
    watch.close()
    assert not criterion._forward_hooks


def test_events_are_told_as_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    event, found = Event("the loss grows", "bad", 340), []
    teller("print")(event)
    assert capsys.readouterr().out == "calclab: step 340: the loss grows\n"
    with pytest.warns(HealthWarning, match="step 340"):
        teller("warn")(event)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        teller("warn")(Event("at the edge", "", 3))
        teller(None)(event)
    teller(found.append)(event)
    assert found == [event]
    with pytest.raises(UserError, match="tell='shout'"):
        teller("shout")
