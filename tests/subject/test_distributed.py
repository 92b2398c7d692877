"""Two processes that share the rows compute what one process computes, and none of them outlives the others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calclab.subject.distributed import RankError, alone, over_ranks, portion, ranks

SETTING = """
    import atexit
    import functools
    from datetime import timedelta

    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # imported later, its default arguments hold the group and gloo's threads
    from torch import nn

    from calclab.core import Data
    from calclab.errors import UserError
    from calclab.subject import distributed
    from calclab.subject.network import network
    from calclab.network.mlp import Mlp
    from calclab.numerics.operators import dense_hessian, hessian, lanes_for, value_and_gradient

    torch.set_num_threads(1)


    def first(rows):
        maker = torch.Generator().manual_seed(5)
        inputs = torch.randn(60, 64, generator=maker, dtype=torch.float64)
        targets = torch.randint(0, 10, (60,), generator=maker)
        names, classes = [f"x{i}" for i in range(64)], [str(i) for i in range(10)]
        return Data("random", inputs[:rows], targets[:rows], names, classes, True)


    def make(rows, loss=None, train=0, module=None):
        mlp = functools.partial(Mlp, width=5, depth=1, activation="tanh", bias=True)
        return network(module or mlp, first(rows), name="net", loss=loss, seed=3, train=train)


    def directions(x, count):
        return torch.randn(len(x), count, generator=torch.Generator().manual_seed(1), dtype=x.dtype)

"""


def launch(folder: Path, body: str, processes: int = 2) -> tuple[list[int], str]:
    """Run ``body``, after ``SETTING`` and in a process group, in as many processes as said: how each of them left
    (minus the signal that killed it), and all that was said.
    """
    script = folder / "script.py"
    meet = (
        'dist.init_process_group("gloo", timeout=timedelta(seconds=100))\nrank = dist.get_rank()\n'
        "atexit.register(dist.destroy_process_group)\n"  # else gloo's threads may abort the interpreter as it ends
    )
    script.write_text(textwrap.dedent(SETTING) + meet + textwrap.dedent(body), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    around = {**os.environ, **address, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(processes)}
    with (folder / "said").open("w+", encoding="utf-8") as said:
        started = [
            subprocess.Popen(
                [sys.executable, str(script)], cwd=folder, env={**around, "RANK": str(rank)}, stdout=said, stderr=said
            )
            for rank in range(processes)
        ]
        left = [process.wait(timeout=300) for process in started]
        return left, (folder / "said").read_text(encoding="utf-8")


def test_portions_hold_every_row_once_and_are_of_one_size() -> None:
    for rows in range(1, 30):
        for size in range(1, 9):
            parts = [portion(rows, rank, size) for rank in range(size)]
            owned = [row for window, seen in parts for row in list(range(rows))[window][seen:]]
            assert owned == list(range(rows))
            assert {len(range(rows)[window]) for window, _ in parts} == {-(-rows // size)}


def test_one_process_is_left_alone() -> None:
    def whole(θ: Tensor) -> Tensor:
        return θ.sum()

    def share(θ: Tensor, rows: slice) -> Tensor:
        raise AssertionError

    assert ranks() == 1
    assert over_ranks("f", whole, share, torch.ones(2), 4, mean=True) is whole
    with alone():
        assert over_ranks("f", whole, share, torch.ones(2), 4, mean=True) is whole


NUMBERS = """
    def numbers(net):
        f = net.objective()
        x = f.start
        value, g = value_and_gradient(f.call, x)
        V = directions(x, 5)
        forward = torch.func.jvp(f.call, (x,), (V[:, 0],))[1]
        nested = torch.func.jvp(torch.func.grad(f.call), (x,), (V[:, 1],))[1]
        points = x + 0.1 * V[:, :3].T
        found = {
            "start": x,
            "loss": value,
            "gradient": g,
            "batched": hessian(f.call, x, lanes=3) @ V,
            "one by one": hessian(f.call, x, lanes=1) @ V,
            "sized": hessian(f.call, x) @ V,
            "forward": forward,
            "forward over reverse": nested,
            "values": torch.func.vmap(f.call)(points),
            "gradients": torch.func.vmap(torch.func.grad(f.call))(points),
        }
        operator = hessian(f.call, x)  # a kept graph, used twice
        found["kept"] = operator @ (operator @ V)
        third = torch.func.grad(lambda p: (torch.func.grad(f.call)(p) * V[:, 0]).sum().square())(x)
        return found | {"nested": third, "lanes": torch.tensor(float(lanes_for(f.call, x)))}

    for rows, loss in CASES:
        net = make(rows, loss)
        shared = numbers(net)
        with distributed.alone():
            single = numbers(net)
        for name, found in shared.items():
            everywhere = [torch.empty_like(found) for _ in range(dist.get_world_size())]
            dist.all_gather(everywhere, found.contiguous())
            assert all(torch.equal(found, other) for other in everywhere), (rows, loss, name, "ranks differ")
            if name == "lanes":
                continue
            gap = (found - single[name]).abs().max() / single[name].abs().max()
            assert gap <= 1e-12, (rows, loss, name, float(gap))
    print("rank", rank, "is content", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "cases"),
    [(2, "[(40, None), (41, 'sum'), (7, 'half_mse')]"), (3, "[(41, None), (4, 'mse')]")],
)
def test_derivatives_are_those_of_one_process(tmp_path: Path, processes: int, cases: str) -> None:
    left, said = launch(tmp_path, f"CASES = {cases}\n" + textwrap.dedent(NUMBERS), processes)
    assert left == [0] * processes, said
    assert said.count("is content") == processes


@pytest.mark.slow
def test_few_rows_training_rows_that_mix_and_one_rank_alone(tmp_path: Path) -> None:
    body = """
    f = make(1, "half_mse").objective()  # more ranks than rows
    shared = dense_hessian(f.call, f.start)
    learned = make(31, train=5)
    with distributed.alone():
        gap = (shared - dense_hessian(f.call, f.start)).norm() / shared.norm()
        single = make(31, train=5)
    assert gap <= 1e-12, gap
    moved = learned.flatten(learned.parameters())
    assert torch.allclose(moved, single.flatten(single.parameters()), rtol=1e-10, atol=1e-12)
    assert "Adam" in learned.notes[-1]

    for k in (0, 10, 15):  # of 31 rows two at a time; the last batch has fewer rows than there are ranks
        f = learned.sampled(2, seed=0).at(k)
        value, g = value_and_gradient(f.call, f.start)
        with distributed.alone():
            expected, h = value_and_gradient(f.call, f.start)
        assert (value - expected).abs() <= 1e-12 and (g - h).norm() <= 1e-12 * h.norm(), k

    f = make(1, "half_mse").objective()
    if rank == 0:  # nobody else takes part
        with distributed.alone():
            value_and_gradient(f.call, f.start)
    value_and_gradient(f.call, f.start)

    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            x = x.flatten(1)
            return self.linear(x - x.mean(dim=0))

    try:
        make(10, module=Mixing()).objective()
    except UserError as error:
        assert "mixes rows" in str(error) and "python -m calclab" in str(error)
        print("rank", rank, "is content", flush=True)
    """
    left, said = launch(tmp_path, body)
    assert left == [0, 0], said
    assert said.count("is content") == 2


def test_a_lost_rank_is_not_taken_for_an_operation_that_cannot_be_batched() -> None:
    assert not issubclass(RankError, RuntimeError)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "death", "status"),
    [(1, "raise ArithmeticError('the layer broke')", 1), (0, "os.kill(os.getpid(), signal.SIGKILL)", -9)],
)
def test_a_rank_that_dies_ends_all_and_says_so(tmp_path: Path, who: int, death: str, status: int) -> None:
    body = f"""
    import os, signal

    f = make(21).objective()
    H = hessian(f.call, f.start)
    V = directions(f.start, 4)
    try:
        for k in range(10**6):
            H @ V
            if k == 3 and rank == {who}:
                {death}
    except distributed.RankError as error:
        print("told:", error, flush=True)
        raise
    """
    left, said = launch(tmp_path, body)
    assert left[who] == status, said
    assert left[1 - who] == 1, said
    assert f"told: rank {1 - who} has lost the other ranks of the run" in said, said
