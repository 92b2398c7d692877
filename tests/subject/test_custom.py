"""Any Python callable as a function."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.subject.custom import custom


def test_scalar_and_vector() -> None:
    f = custom(callable="torch.sum", at=[1, 2, 3])
    assert f.scalar
    assert f.variables == ("x0", "x1", "x2")
    assert f.name == "sum"
    assert f.exact is None
    g = custom(callable="torch.sin", at=[1.0, 2.0], variables=["a", "b"])
    assert g.outputs == ("f0", "f1")
    assert g.variables == ("a", "b")
    torch.testing.assert_close(torch.func.jacrev(g.call)(g.start), torch.diag(torch.cos(g.start)))


def test_arguments_and_classes() -> None:
    f = custom(callable="torch.linalg.vector_norm", at=[3.0, 4.0], arguments={"ord": 1})
    assert float(f.call(f.start)) == 7
    net = custom(callable="torch.nn.Linear", at=[1.0, 2.0], arguments={"in_features": 2, "out_features": 3})
    assert len(net.outputs) == 3
    assert net.call(net.start).dtype == torch.float64
    assert not net.call(net.start).requires_grad


def test_a_file_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_functions.py").write_text("def f(x, scale=1.0):\n    return scale*(x**2).sum()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    f = custom(callable="my_functions.f", at=[1.0, 2.0], arguments={"scale": 3.0})
    assert float(f.call(f.start)) == 15


def returns_text(x: Tensor) -> str:
    return "text"


def raises(x: Tensor) -> Tensor:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module.f", "cannot import no_such_module"),
        ("torch.sinn", "sin"),
        ("f", "module"),
        ("math.pi", "float"),
        ("torch.argmax", "int64"),
        ("torch.outer", "raised"),
        (returns_text, "str"),
        (raises, "RuntimeError"),
        (None, "function._target_="),
    ],
)
def test_refused(path: object, said: str) -> None:
    with pytest.raises(UserError) as caught:
        custom(callable=path, at=[1.0, 2.0])  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_start_is_needed() -> None:
    with pytest.raises(UserError, match="start"):
        custom(callable="torch.sum", at=None)
