"""The Watch in Lightning's Trainer: it looks at the loss that is trained, and the training does not notice."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from network_zoo import load_torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import calclab
from calclab.errors import UserError

load_torchvision()
pl = pytest.importorskip("lightning.pytorch", reason="needs the extra lightning")

from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from calclab.lightning import Watch  # noqa: E402
from calclab.watch.moment import Reading  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:GPU available"),
]


class Slope:
    """A look that asks for the loss and its gradient, and draws."""

    name, cost, batch = "slope", 1.0, True

    def take(self, moment: Any) -> list[Reading]:
        torch.rand(3)
        return [
            Reading("slope/loss", float(moment.loss().detach())),
            Reading("slope/norm", float(sum(g.square().sum() for g in moment.here.values()))),
        ]


QUANTITIES = ("norms", "noise", Slope())


class Classifier(pl.LightningModule):
    """Dropout, running means, a list of its own, several logs: whatever a look could leave traces in."""

    def __init__(self, optimizer: str = "adam", drop: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(drop), nn.Linear(16, 3))
        self.optimizer, self.outputs = optimizer, []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.outputs.append(float(loss.detach()))
        self.log("loss", loss, prog_bar=True)
        self.log_dict({"index": float(batch_idx)}, on_epoch=True, on_step=False)
        if self.logger is not None:
            self.logger.log_metrics({"own": float(loss.detach())}, step=self.global_step)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        if self.optimizer == "sgd":
            groups = [{"params": self.net[0].parameters(), "lr": 0.1}, {"params": self.net[4].parameters()}]
            optimizer: Any = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
        elif self.optimizer == "lbfgs":
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)
        else:
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rows(count: int = 128, size: int = 16) -> DataLoader[Any]:
    made = torch.Generator().manual_seed(1)
    x = torch.randn(count, 5, generator=made)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=size, shuffle=True)


def trainer(folder: Path, callbacks: list[Any], **given: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    given = {"logger": CSVLogger(folder), "max_epochs": 2, "log_every_n_steps": 1, **quiet, **given}
    return pl.Trainer(callbacks=callbacks, default_root_dir=folder, **given)


def trained(
    folder: Path, callbacks: list[Any], make: Callable[[], Any] = Classifier, loader: Any = None, **given: Any
) -> tuple[Any, Any]:
    pl.seed_everything(3, verbose=False)
    module = make()
    made = trainer(folder, callbacks, **given)
    made.fit(module, loader or rows(), rows(48))
    return module, made


def watched(module: Any, made: Any) -> Any:
    return next(callback for callback in made.callbacks if isinstance(callback, Watch))


def told(folder: Path) -> Any:
    """The trainer's CSV log."""
    import pandas as pd

    return pd.read_csv(next(folder.rglob("metrics.csv")))


# --- the training does not notice ---


SETTINGS = {
    "plain": {},
    "accumulated and clipped": {"accumulate_grad_batches": 3, "gradient_clip_val": 0.5},
    "bf16": {"precision": "bf16-mixed"},
    "float64": {"precision": "64-true"},
    "validation inside an epoch": {"val_check_interval": 2},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_weights_states_and_logs_are_the_same(setting: str, optimizer: str, tmp_path: Path) -> None:
    given = SETTINGS[setting]
    bare, one = trained(tmp_path / "bare", [], partial(Classifier, optimizer), **given)
    state = torch.get_rng_state()
    callback = Watch(every=2, budget=None, quantities=QUANTITIES)
    seen, two = trained(tmp_path / "seen", [callback], partial(Classifier, optimizer), **given)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(bare.state_dict(), seen.state_dict())
    assert same(one.optimizers[0].state_dict(), two.optimizers[0].state_dict())
    assert bare.outputs == seen.outputs
    assert vars(bare).keys() == vars(seen).keys()
    names = list(told(tmp_path / "bare").columns)
    own = [name for name in names if name not in ("epoch", "step")]
    before, after = (told(tmp_path / part)[names].dropna(how="all", subset=own) for part in ("bare", "seen"))
    assert before.reset_index(drop=True).equals(after.reset_index(drop=True))
    slopes = callback.watch.values.query("name == 'slope/norm'")
    assert len(slopes) >= 2
    assert (slopes["value"] > 0).all()
    assert not callback.watch.events


def same(one: Any, other: Any) -> bool:
    """Whether two nests of dicts and lists hold the same bits."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


# --- it is the loss that is trained ---


class Gradients(pl.Callback):
    """Compares, where the step's gradient stands before clipping, that of the objective with that of the trainer."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        watch = watched(module, trainer)
        held = watch.accumulation.held
        if not held:
            return
        loss = torch.stack([watch.objective(module, batch) for batch in held]).mean()
        parameters = list(module.parameters())
        found = torch.autograd.grad(loss, parameters)
        for p, g in zip(parameters, found, strict=True):
            self.gaps.append(float((p.grad - g).abs().max() / (p.grad.abs().max() + 1e-3)))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_objective_has_the_gradient_of_the_trainer(accumulated: int, tmp_path: Path) -> None:
    seen = Gradients()
    make = partial(Classifier, drop=0.0)
    module, _ = trained(
        tmp_path, [Watch(every=1, budget=None), seen], make, rows(144), accumulate_grad_batches=accumulated
    )
    assert len(seen.gaps) == 2 * 9 // accumulated * len(list(module.parameters()))
    assert max(seen.gaps) < 1e-5


class Awkward(Classifier):
    """A batch that is a tuple of dicts, taken apart and written to; one argument, and a dict for what is given."""

    def training_step(self, batch: Any) -> Any:
        inputs, targets = batch
        x = inputs.pop("x")
        x.mul_(2)
        loss = nn.functional.cross_entropy(self.net(x), targets.pop("y"))
        return {"loss": loss, "seen": len(x)}


def dicts(rows: Any) -> Any:
    return {"x": torch.stack([row[0] for row in rows])}, {"y": torch.stack([row[1] for row in rows])}


def test_a_batch_that_is_taken_apart(tmp_path: Path) -> None:
    loader = DataLoader(rows().dataset, batch_size=24, collate_fn=dicts)
    seen = Gradients()
    trained(tmp_path, [Watch(every=1, budget=None), seen], partial(Awkward, drop=0.0), loader)
    assert len(seen.gaps) == 2 * 6 * 6  # epochs, batches, parameters
    assert max(seen.gaps) < 1e-5


class Refusing(Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


def test_a_step_without_a_loss_is_passed_over(tmp_path: Path) -> None:
    callback = Watch(every=1, budget=None, quantities=QUANTITIES)
    trained(tmp_path, [callback], Refusing)
    steps = set(callback.watch.values["step"])
    assert len(steps) >= 7
    assert callback.watch.values["value"].notna().all()


# --- steps, loggers, ends ---


def test_values_stand_in_the_trainers_log_beside_its_own(tmp_path: Path) -> None:
    callback = Watch(every=4, budget=None)
    _, made = trained(tmp_path, [callback])
    table = told(tmp_path)
    looked = table.dropna(subset=["gradient/norm"])
    assert list(looked["step"]) == [3, 7, 11, 15]  # the trainer counts from 0: where its own loss of the step stands
    assert sorted(set(callback.watch.values["step"])) == [4, 8, 12, 16]
    assert set(looked["step"]) <= set(table.dropna(subset=["loss_step" if "loss_step" in table else "loss"])["step"])
    assert float(made.callback_metrics["gradient/norm"]) == pytest.approx(looked["gradient/norm"].iloc[-1])


def test_without_a_logger_values_are_kept(tmp_path: Path) -> None:
    callback = Watch(every=4, budget=None)
    trained(tmp_path, [callback], logger=False)
    assert sorted(set(callback.watch.values["step"])) == [4, 8, 12, 16]


def test_a_training_that_goes_on_goes_on_counting(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    keeper = ModelCheckpoint(tmp_path / "kept", save_last=True)
    trained(tmp_path / "one", [Watch(every=5, budget=None), keeper], max_epochs=2)
    callback = Watch(every=5, budget=None)
    made = trainer(tmp_path / "two", [callback], max_epochs=4)
    made.fit(Classifier(), rows(), rows(48), ckpt_path=keeper.last_model_path)
    assert sorted(set(callback.watch.values["step"])) == [20, 25, 30]
    made.fit_loop.max_epochs = 6  # and once more, with the same trainer and callback
    made.fit(made.lightning_module, rows())
    assert set(callback.watch.values["step"]) >= {35, 40, 45}


def test_an_early_end_and_an_error_leave_no_hooks(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer.should_stop = batch_idx >= 3

    class Fail(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            raise ZeroDivisionError

    _, made = trained(tmp_path / "stop", [Watch(every=1), Stop()])
    assert not made.optimizers[0]._optimizer_step_post_hooks
    assert not made.optimizers[0]._optimizer_step_pre_hooks
    callback = Watch(every=1)
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path / "fail", [callback, Fail()])
    assert callback.accumulation is None


# --- manual optimization, several optimizers ---


class Game(pl.LightningModule):
    """Two players, two optimizers, steps of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.one, self.two = nn.Linear(5, 3), nn.Linear(5, 3)

    def loss_of(self, player: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(player(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        players = zip((self.one, self.two), self.optimizers(), strict=True)
        for which, (player, optimizer) in enumerate(players):
            if which == 0 or batch_idx % 2:
                loss = self.loss_of(player, batch)
                self.manual_backward(loss)
                optimizer.step()
                optimizer.zero_grad()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.one.parameters(), lr=0.1), torch.optim.Adam(self.two.parameters(), lr=0.1)]


def test_each_of_two_optimizers_has_its_own_watch(tmp_path: Path) -> None:
    first = Watch(every=2, budget=None, optimizer=0, loss=lambda module, batch: module.loss_of(module.one, batch))
    second = Watch(every=2, budget=None, optimizer=1, loss=lambda module, batch: module.loss_of(module.two, batch))
    bare, _ = trained(tmp_path / "bare", [], Game)
    seen, _ = trained(tmp_path / "seen", [first, second], Game)
    assert same(bare.state_dict(), seen.state_dict())
    assert sorted(set(first.watch.values["step"])) == [2, 4, 6, 8, 10, 12, 14, 16]
    assert sorted(set(second.watch.values["step"])) == [2, 4, 6, 8]
    layers = {name.rpartition("/")[2] for name in second.watch.values["name"] if name.startswith("layers/")}
    assert layers == {"two"}


def test_what_cannot_be_known_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 SGD, 1 Adam.*optimizer=0"):
        trained(tmp_path, [Watch(loss=lambda module, batch: module.loss_of(module.one, batch))], Game)
    with pytest.raises(UserError, match=r"optimizer.* is 2"):
        trained(tmp_path, [Watch(optimizer=2, loss=lambda module, batch: batch[0].sum())], Game)
    with pytest.raises(UserError, match=r"manual optimization.*loss=lambda module, batch"):
        trained(tmp_path, [Watch(optimizer=0)], Game)


def test_an_optimizer_with_a_closure(tmp_path: Path) -> None:
    callback = Watch(every=2, budget=None)
    bare, _ = trained(tmp_path / "bare", [], partial(Classifier, "lbfgs"))
    seen, _ = trained(tmp_path / "seen", [callback], partial(Classifier, "lbfgs"))
    assert same(bare.state_dict(), seen.state_dict())
    assert sorted(set(callback.watch.values["step"])) == [2, 4, 6, 8, 10, 12, 14, 16]


# --- the package ---


def test_the_older_name_of_the_package_is_served(tmp_path: Path) -> None:
    older = pytest.importorskip("pytorch_lightning")

    class Module(older.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(5, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = Watch(every=2, budget=None)
    made = older.Trainer(
        callbacks=[callback], max_epochs=1, default_root_dir=tmp_path, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    made.fit(Module(), rows())
    assert sorted(set(callback.watch.values["step"])) == [2, 4, 6, 8]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "calclab.lightning")
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'calclab\[lightning\]'") as refused:
        import_module("calclab.lightning")
    assert isinstance(refused.value, UserError)


def test_it_is_reached_from_calclab_and_costs_nothing_before() -> None:
    assert calclab.lightning.Watch is Watch
    code = "import sys, calclab; print(*{'lightning', 'transformers', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
