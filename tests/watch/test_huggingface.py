"""The Watch in Hugging Face's Trainer: it looks at the loss that is trained, and the training does not notice."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from network_zoo import load_torchvision
from torch import Tensor, nn

import calclab
from calclab.errors import UserError

load_torchvision()
transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
pytest.importorskip("accelerate", reason="needs the extra transformers")

from calclab.huggingface import Watch  # noqa: E402
from calclab.watch.moment import Reading  # noqa: E402

VOCABULARY, LENGTH = 11, 6


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


class Words(torch.utils.data.Dataset[Any]):
    """Made-up sentences: the next word is the last one's successor, most of the time."""

    def __init__(self, count: int = 24, classes: bool = False, padded: bool = False) -> None:
        made = torch.Generator().manual_seed(1)
        start = torch.randint(VOCABULARY, (count, 1), generator=made)
        self.words = (start + torch.arange(LENGTH)) % VOCABULARY
        self.labels = self.words[:, 0] % 3 if classes else self.words.clone()
        if padded:  # as many labels as the row has, so that micro-batches weigh unequally
            for i in range(count):
                self.labels[i, 2 + i % (LENGTH - 2) :] = -100

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self.words[i], "labels": self.labels[i]}


def gpt2(drop: float = 0.1) -> nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=8, n_layer=2, n_head=2, resid_pdrop=drop,
            embd_pdrop=drop, attn_pdrop=drop, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def bert(drop: float = 0.1) -> nn.Module:
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=VOCABULARY, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=LENGTH, num_labels=3, hidden_dropout_prob=drop, attention_probs_dropout_prob=drop,
        )
    )  # fmt: skip


def arguments(folder: Path, **given: Any) -> Any:
    given = {"max_steps": 8, "per_device_train_batch_size": 4, "logging_steps": 2, "learning_rate": 0.01, **given}
    return transformers.TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        seed=3,
        save_strategy=given.pop("save", "no"),
        **given,
    )


def trained(
    folder: Path, callbacks: list[Any], make: Any = gpt2, kind: Any = None, rows: Any = None, resume: Any = None,
    own: Any = None, **given: Any,
) -> Any:  # fmt: skip
    torch.manual_seed(3)
    trainer = (kind or transformers.Trainer)(
        make(), arguments(folder, **given), train_dataset=rows or Words(), eval_dataset=Words(8), callbacks=callbacks,
        **(own or {}),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def same(one: Any, other: Any) -> bool:
    """Whether two nests of dicts and lists hold the same bits."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def own_log(trainer: Any) -> list[dict[str, float]]:
    """What the trainer logged by itself, without what it measures of time."""
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
    rows = [
        {k: v for k, v in row.items() if k not in timed and not k.startswith("eval_")}
        for row in trainer.state.log_history
    ]
    return [row for row in rows if "slope/norm" not in row]


# --- the training does not notice ---


class Gathering(transformers.Trainer):
    """As trainers of others do: gathers numbers in compute_loss, and gives them out in its log."""

    def __init__(self, *args: Any, **given: Any) -> None:
        self.gathered: Any = {"train": defaultdict(list)}
        super().__init__(*args, **given)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
        found = super().compute_loss(model, inputs, return_outputs=return_outputs, **given)
        self.gathered["train"]["count"].append(1.0)
        if model.training:
            self.log({"within": 1.0})
        return found

    def log(self, logs: Any, *given: Any) -> None:
        logs = {**logs, "count": sum(self.gathered["train"]["count"])}
        self.gathered["train"].clear()
        super().log(logs, *given)


SETTINGS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "accumulated and clipped": {"gradient_accumulation_steps": 3, "max_grad_norm": 0.1},
    "bf16": {"bf16": True},
    "label smoothing": {"make": bert, "rows": Words(classes=True), "label_smoothing_factor": 0.1},
    "evaluated between": {"eval_strategy": "steps", "eval_steps": 1, "logging_steps": 1},
    "a subclass that gathers": {"kind": Gathering},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_weights_states_and_logs_are_the_same(setting: str, tmp_path: Path) -> None:
    given = SETTINGS[setting]
    bare = trained(tmp_path / "bare", [], **given)
    state = torch.get_rng_state()
    callback = Watch(every=2, budget=None, quantities=QUANTITIES)
    seen = trained(tmp_path / "seen", [callback], **given)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(bare.model.state_dict(), seen.model.state_dict())
    assert same(bare.optimizer.state_dict(), seen.optimizer.state_dict())
    assert same(own_log(bare), own_log(seen))
    assert vars(bare).keys() == vars(seen).keys()
    assert [row["step"] for row in seen.state.log_history if "slope/norm" in row] == [2, 4, 6, 8]
    assert not callback.watch.events


# --- it is the loss that is trained ---


class Gradients(transformers.TrainerCallback):
    """Compares the step's gradient with that of the objective, both before the step."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.gaps = watch, []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        held = self.watch.accumulation.held
        loss = torch.stack([self.watch.objective(model, batch) for batch in held]).mean()
        parameters = [p for p in model.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, parameters)
        for p, g in zip(parameters, found, strict=True):
            self.gaps.append(float((p.grad - g).abs().max() / (p.grad.abs().max() + 1e-3)))


class Weighted(transformers.Trainer):
    """A loss of one's own, which pops what it takes."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = nn.functional.cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 2.0, 3.0]))
        return (loss, outputs) if return_outputs else loss


def half(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """A sum over the labels of all micro-batches together."""
    logits = outputs.logits.flatten(0, 1)
    return 0.5 * nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum") / num_items_in_batch


LOSSES: dict[str, dict[str, Any]] = {
    "gpt2": {"make": lambda: gpt2(0.0)},
    "bert": {"make": lambda: bert(0.0), "rows": Words(classes=True)},
    "label smoothing": {"make": lambda: bert(0.0), "rows": Words(classes=True), "label_smoothing_factor": 0.2},
    "smoothed words": {"make": lambda: gpt2(0.0), "label_smoothing_factor": 0.2},
    "micro-batches that weigh unequally": {"make": lambda: gpt2(0.0), "rows": Words(padded=True)},
    "compute_loss of a subclass": {"make": lambda: bert(0.0), "rows": Words(classes=True), "kind": Weighted},
    "compute_loss_func": {"make": lambda: gpt2(0.0), "own": {"compute_loss_func": half}},
}


@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize("which", LOSSES)
def test_the_objective_has_the_gradient_of_the_trainer(which: str, accumulated: int, tmp_path: Path) -> None:
    callback = Watch(every=1, budget=None)
    seen = Gradients(callback)
    given = LOSSES[which] | {"gradient_accumulation_steps": accumulated, "max_grad_norm": 0.0, "max_steps": 3}
    trained(tmp_path, [callback, seen], **given)
    assert seen.gaps
    assert max(seen.gaps) < 1e-5


def test_in_bf16_the_loss_is_looked_at_in_the_type_of_the_weights(tmp_path: Path) -> None:
    found: dict[str, float] = {}

    class Compare(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            (batch,) = callback.accumulation.held
            with torch.no_grad():
                rows = batch.rows | {"num_items_in_batch": batch.items}
                found["looked at"] = float(callback.objective(model, batch))
                found["trained"] = float(model(**rows).loss)
                found["wide"] = float(type(model).forward(model, **rows).loss)

    callback = Watch(every=1, budget=None)
    trained(tmp_path, [callback, Compare()], lambda: gpt2(0.0), bf16=True, max_steps=1)
    assert found["looked at"] == pytest.approx(found["wide"], rel=1e-6)
    assert found["looked at"] != found["trained"]


def test_the_loss_of_a_step_is_the_trainers_and_what_spoils_it_is_told(tmp_path: Path) -> None:
    class Broken(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
            found = super().compute_loss(model, inputs, return_outputs=return_outputs, **given)
            return found * (math.nan if self.state.global_step == 4 else 1.0)

    callback = Watch(every=1, budget=None)
    trainer = trained(
        tmp_path, [callback], lambda: gpt2(0.0), Broken, max_steps=6, logging_steps=1, gradient_accumulation_steps=2,
        logging_nan_inf_filter=False,
    )  # fmt: skip
    own = {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
    seen = {record.step: record.loss for record in monitor(callback.watch).health.history.records}
    assert [seen[step] for step in (1, 2, 3, 4)] == pytest.approx([own[step] for step in (1, 2, 3, 4)], rel=1e-5)
    first = callback.watch.events[0]
    assert first.step == 5
    assert "finite" in first.text or "NaN" in first.text, first.text


def monitor(watch: Any) -> Any:
    return next(look for look in watch.looks if look.name == "health")


# --- steps, ends ---


def test_rows_that_are_evaluated_are_never_held(tmp_path: Path) -> None:
    held: list[int] = []

    class Look(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            held.append(len(callback.accumulation.held))

    callback = Watch(every=1, budget=None)
    trained(tmp_path, [callback, Look()], eval_strategy="steps", eval_steps=1, gradient_accumulation_steps=2)
    assert held == [2] * 8


def test_values_go_with_the_trainers_and_to_log(tmp_path: Path) -> None:
    told: dict[int, dict[str, float]] = {}
    trainer = trained(tmp_path, [Watch(every=3, budget=None, log=lambda step, values: told.update({step: values}))])
    history = {row["step"]: row for row in trainer.state.log_history if "gradient/norm" in row}
    assert sorted(history) == sorted(told) == [3, 6]
    for step, values in told.items():
        assert {name for name in values if name not in history[step]} == {n for n in values if n.startswith("layers/")}
        assert all(values[name] == history[step][name] for name in values if not name.startswith("layers/"))
    assert [row["step"] for row in trainer.state.log_history if "loss" in row] == [2, 4, 6, 8]


def test_single_layers_are_for_those_who_keep_them_and_are_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[dict[str, float]] = []

    class Keeper(transformers.TrainerCallback):  # as those that report_to names
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            kept.append(dict(logs))

    trained(tmp_path, [Watch(every=4, budget=None), Keeper()])
    printed = capsys.readouterr().out
    assert "gradient/norm" in printed
    assert "layers/" not in printed
    assert sum(any(name.startswith("layers/") for name in logs) for logs in kept) == 2


def test_a_training_that_goes_on_goes_on_counting(tmp_path: Path) -> None:
    trained(tmp_path, [Watch(every=3, budget=None)], save="steps", save_steps=4, max_steps=4)
    callback = Watch(every=3, budget=None)
    trainer = trained(tmp_path, [callback], resume=True, max_steps=9)
    assert sorted(set(callback.watch.values["step"])) == [6, 9]
    trainer.args.max_steps = 6  # and once more, from the beginning
    trainer.train()
    assert sorted(set(callback.watch.values["step"])) == [3, 6]


def test_an_error_leaves_a_trainer_that_can_be_used(tmp_path: Path) -> None:
    class Fail(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2 and not raised:
                raised.append(True)
                raise ZeroDivisionError

    raised: list[bool] = []
    callback = Watch(every=1, budget=None)
    torch.manual_seed(3)
    trainer = transformers.Trainer(gpt2(), arguments(tmp_path), train_dataset=Words(), callbacks=[callback, Fail()])
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    trainer.train()
    assert sorted(set(callback.watch.values["step"])) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "training_step" not in vars(trainer)
    assert not trainer.optimizer.optimizer._optimizer_step_post_hooks


def test_frozen_parameters_have_no_readings(tmp_path: Path) -> None:
    def frozen() -> nn.Module:
        model = gpt2()
        model.transformer.wte.weight.requires_grad_(False)
        return model

    callback = Watch(every=2, budget=None, quantities=QUANTITIES)
    trained(tmp_path, [callback], frozen)
    names = set(callback.watch.values["name"])
    assert not [name for name in names if name.endswith("transformer.wte")]
    assert [name for name in names if name.endswith("transformer.wpe")]


# --- the package ---


def test_outside_of_a_trainer_the_plain_watch_is_named() -> None:
    with pytest.raises(UserError, match=r"calclab\.Watch\(model, criterion, optimizer\)"):
        Watch().on_train_begin(None, None, None)


@pytest.mark.parametrize("missing", ["transformers", "accelerate"])
def test_without_the_package_the_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calclab.huggingface.Watch is Watch
    monkeypatch.delitem(sys.modules, "calclab.huggingface")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'calclab\[transformers\]'") as refused:
        import_module("calclab.huggingface")
    assert isinstance(refused.value, UserError)
