"""Adam against torch's own."""

from __future__ import annotations

import torch

from calclab.network.train import RATE, adam


def quartic(x: torch.Tensor) -> torch.Tensor:
    return (x.square() @ torch.tensor([1.0, 30.0], dtype=x.dtype) - 2).square() + x.sum()


def test_the_same_points_as_torch_optim() -> None:
    start = torch.tensor([0.7, -0.4], dtype=torch.float64)
    leaf = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=RATE)
    for _ in range(50):
        optimizer.zero_grad()
        quartic(leaf).backward()
        optimizer.step()
    torch.testing.assert_close(adam(quartic, start, 50), leaf.detach(), rtol=1e-12, atol=1e-12)


def test_no_steps_leave_the_point_and_the_point_given_is_not_changed() -> None:
    start = torch.tensor([0.7, -0.4], dtype=torch.float64)
    assert torch.equal(adam(quartic, start, 0), start)
    adam(quartic, start, 3)
    assert start.tolist() == [0.7, -0.4]
    assert not start.requires_grad
