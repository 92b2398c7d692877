"""A training of several processes with a watch: none hangs, the first looks, and the weights are those without it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

import calclab
from calclab.errors import UserError
from calclab.watch.processes import alone, sharded

SETTING = """
    import atexit, sys
    from datetime import timedelta

    import torch, torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    import calclab

    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    atexit.register(dist.destroy_process_group)  # else gloo's threads may abort the interpreter as it ends

    def rows(k):
        made = torch.Generator().manual_seed(2 * k + rank)
        return torch.randn(16, 5, generator=made), torch.randint(0, 3, (16,), generator=made)

    def same_everywhere(module):
        for tensor in module.state_dict().values():
            everywhere = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
            dist.all_gather(everywhere, tensor.contiguous())
            if not all(torch.equal(tensor, other) for other in everywhere):
                return False
        return True
"""


def launched(folder: Path, body: str, setting: str = SETTING, processes: int = 2) -> str:
    """What processes said that ran ``body`` after ``setting``; all of them ended well, and in time."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(setting) + textwrap.dedent(body), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    around = {**os.environ, **address, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes)}
    with (folder / "said").open("w+", encoding="utf-8") as said:
        started = [
            subprocess.Popen(
                [sys.executable, str(script)],
                cwd=folder,
                env={**around, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=said,
                stderr=said,
            )
            for rank in range(processes)
        ]
        try:
            left = [process.wait(timeout=250) for process in started]
        finally:
            for process in started:
                process.kill()
        text = (folder / "said").read_text(encoding="utf-8")
    assert left == [0] * processes, text
    return text


def test_the_first_of_two_ranks_looks_and_the_training_is_the_same(tmp_path: Path) -> None:
    """Also through the wrapper that the loss has in its closure, with buffers that it would hand round."""
    said = launched(
        tmp_path,
        """
        def trained(watched, loss=None, accumulated=False):
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 3))
            model, criterion = DistributedDataParallel(net), nn.CrossEntropyLoss()
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
            torch.manual_seed(rank)
            if loss == "closed over":
                given = {"loss": lambda _, batch: criterion(model(batch[0]), batch[1])}
            else:
                given = {"criterion": criterion}
            told = {}
            looks = ("norms", "noise", "sharpness")
            watch = calclab.Watch(
                model, optimizer=optimizer, every=3, budget=None, quantities=looks, log=told.__setitem__, **given
            )
            if not watched:
                watch.close()
            for k in range(7):
                optimizer.zero_grad()
                if accumulated:
                    first = rows(100 + k)
                    with model.no_sync():
                        (criterion(model(first[0]), first[1]) / 2).backward()
                    x, y = rows(k)
                    (criterion(model(x), y) / 2).backward()
                else:
                    x, y = rows(k)
                    criterion(model(x), y).backward()
                optimizer.step()
                watch.step([first, (x, y)] if accumulated else (x, y))
            watch.close()
            return model, watch, told

        for kind in ({}, {"loss": "closed over"}, {"accumulated": True}):
            bare = trained(False, **kind)[0]
            seen, watch, told = trained(True, **kind)
            one, other = bare.state_dict(), seen.state_dict()
            assert all(torch.equal(one[name], other[name]) for name in one), kind
            assert same_everywhere(seen.module[0]) and same_everywhere(seen.module[4])
            assert sorted(told) == ([3, 6] if rank == 0 else []), told
            assert not watch.events, watch.events
            if rank == 0:
                assert set(watch.values.step) == {3, 6}
                assert "curvature/sharpness" in set(watch.values.name), set(watch.values.name)
        print("rank", rank, "is content", flush=True)
        """,
    )
    assert said.count("is content") == 2, said


FRAMEWORK = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parents[1] / "networks")!r})
    from network_zoo import load_torchvision
    load_torchvision()
    import os, torch
    from torch import nn
    import calclab
    rank = int(os.environ["RANK"])
"""


def present(*packages: str) -> None:
    """Skips where one is not installed."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


@pytest.mark.minutes
def test_in_lightning_under_ddp(tmp_path: Path) -> None:
    present("lightning")
    said = launched(
        tmp_path,
        """
        import lightning.pytorch as pl
        from torch.utils.data import DataLoader, TensorDataset

        class Module(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
            def training_step(self, batch, batch_idx):
                loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
                self.log("loss", loss, sync_dist=True)
                return loss
            def configure_optimizers(self):
                return torch.optim.AdamW(self.parameters(), lr=0.05)

        def trained(callbacks):
            pl.seed_everything(1, verbose=False)
            module = Module()
            made = torch.Generator().manual_seed(1)
            rows = TensorDataset(torch.randn(64, 5, generator=made), torch.randint(0, 3, (64,), generator=made))
            trainer = pl.Trainer(
                callbacks=callbacks, strategy="ddp", devices=2, accelerator="cpu", max_epochs=2, logger=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )
            trainer.fit(module, DataLoader(rows, batch_size=8, shuffle=True))
            return module.state_dict()

        watch = calclab.lightning.Watch(every=3, budget=None, quantities=["norms", "noise", "sharpness"])
        one, other = trained([]), trained([watch])
        assert all(torch.equal(one[name], other[name]) for name in one)
        steps = [] if watch.watch is None else sorted(set(watch.watch.values.step))
        print("rank", rank, "looked at", steps, flush=True)
        """,
        FRAMEWORK,
    )
    assert "rank 0 looked at [3, 6]" in said, said
    assert "rank 1 looked at []" in said, said


@pytest.mark.minutes
def test_in_hugging_faces_trainer_under_ddp(tmp_path: Path) -> None:
    present("accelerate", "transformers")
    said = launched(
        tmp_path,
        """
        from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

        def trained(callbacks):
            torch.manual_seed(1)
            words = (torch.randint(11, (64, 1)) + torch.arange(6)) % 11
            rows = [{"input_ids": sentence, "labels": sentence} for sentence in words]
            model = GPT2LMHeadModel(GPT2Config(
                vocab_size=11, n_positions=6, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
            ))
            arguments = TrainingArguments(
                "trained", max_steps=6, per_device_train_batch_size=4, gradient_accumulation_steps=2, logging_steps=2,
                save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, ddp_backend="gloo",
            )
            trainer = Trainer(model, arguments, train_dataset=rows, callbacks=callbacks)
            trainer.train()
            return trainer

        watch = calclab.huggingface.Watch(every=3, budget=None, quantities=["norms", "noise", "sharpness"])
        one, other = trained([]).model.state_dict(), trained([watch]).model.state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one)
        steps = [] if watch.watch is None else sorted(set(watch.watch.values.step))
        print("rank", rank, "looked at", steps, flush=True)
        """,
        FRAMEWORK,
    )
    assert "rank 0 looked at [3, 6]" in said, said
    assert "rank 1 looked at []" in said, said


def test_weights_in_shards_are_refused_in_a_sentence(tmp_path: Path) -> None:
    said = launched(
        tmp_path,
        """
        from torch.distributed.fsdp import fully_shard
        from torch.distributed.device_mesh import init_device_mesh

        net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
        fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        try:
            calclab.Watch(net, nn.CrossEntropyLoss(), optimizer)
        except calclab.UserError as error:
            print("refused:", error, flush=True)
        """,
    )
    assert said.count("refused: the weights are in shards over the processes, by fully_shard") == 2, said


class FullyShardedDataParallel(nn.Linear):
    """By its name, as torch's needs an accelerator."""


def test_other_shards_are_known() -> None:
    net = nn.Linear(2, 2)
    assert sharded(net) == ""
    net.weight.ds_id = 3  # type: ignore[assignment]
    assert sharded(net) == "DeepSpeed"
    wrapped = FullyShardedDataParallel(2, 2)
    with pytest.raises(UserError, match="by FullyShardedDataParallel"):
        calclab.Watch(wrapped, nn.MSELoss(), torch.optim.SGD(wrapped.parameters(), lr=0.1))


def test_normalisation_over_processes_is_done_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is asked for, so that nobody has to answer."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(plain)

    def asked() -> bool:
        raise ConnectionError

    monkeypatch.setattr(torch.distributed, "is_initialized", asked)
    x = torch.randn(6, 3)
    with alone(shared.modules()):
        assert torch.allclose(shared(x).mean(0), torch.zeros(4), atol=1e-6)
    with pytest.raises(ConnectionError):
        shared(x)
    assert all("forward" not in vars(part) for part in shared.modules())
