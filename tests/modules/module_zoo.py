"""Odd modules, each a few lines: what people really write, and what nobody should. `KINDS` says what is known of each.

All take rows of three numbers (or of three codes from 0 to 4) to two outputs, unless said otherwise.
"""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from calclab.core import Data

ROWS, WIDTH, OUTPUTS = 6, 3, 2


def rows(*, codes: bool = False, seed: int = 0, dtype: torch.dtype = torch.float64, device: Any = "cpu") -> Data:
    """The data of the zoo: what `data._target_` names."""
    maker = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, WIDTH, generator=maker, dtype=torch.float64)
    if codes:
        x = torch.randint(0, 5, (ROWS, WIDTH), generator=maker).double()
    y = torch.randn(ROWS, OUTPUTS, generator=maker, dtype=torch.float64)
    return Data("zoo", x.to(dtype), y.to(dtype), ("a", "b", "c"), ("u", "v"), False)


# --- state ---


class Counter(nn.Module):
    """A buffer grows by one at each call, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.outer(torch.tanh(self.inner(x))) * self.calls


class LayerCounter(nn.Module):
    """A layer of a plain sequence, with a buffer that another takes the place of."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        self.scale = self.scale * 1.5
        return x * self.scale


def counting_sequence() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh(), LayerCounter(), nn.Linear(3, 2))


class Plain(nn.Module):
    """A Python number and a tensor that is no buffer, both changed at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)
        self.n, self.memory = 1, torch.ones(3)

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        self.memory.mul_(1.25)
        return self.outer(torch.tanh(self.inner(x)) * self.memory.to(x)) * self.n


class Training(nn.Module):
    """Batch normalisation that is put into training mode by the forward itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.outer = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()
        return self.outer(torch.tanh(self.norm(self.inner(x))))


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2)).train()


class Running(nn.Module):
    """A running mean by functional batch norm in training mode, whatever the mode of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inner(x))
        y = self.outer(h - self.mean)
        with torch.no_grad():
            self.mean.lerp_(h.mean(0), 0.5)
        return y


# --- weights ---


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))))


def shared() -> nn.Module:
    layer, bend = nn.Linear(3, 3), nn.Tanh()
    return nn.Sequential(nn.Sequential(layer, bend), nn.Sequential(layer, bend), nn.Linear(3, 2))


def spectral_old() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


def spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


def weight_norm_old() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


def weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).mT


def parametrised() -> nn.Module:
    layer = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 2))


def frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    return module


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(2))


class Nothing(nn.Module):
    """No parameters at all."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.prod(1), x.square().sum(1)], 1)


class Empty(nn.Module):
    """A parameter without entries, a scalar one, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.none, self.scale = nn.Parameter(torch.zeros(0, 3)), nn.Parameter(torch.tensor(0.5))
        self.unused, self.fc = nn.Parameter(torch.ones(2)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(x)) * self.scale


class Listed(nn.Module):
    """A layer in a Python list, which torch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.fc = [nn.Linear(3, 3)], nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.hidden[0](x)))


class Half(nn.Module):
    """Computes in float32 inside, whatever the dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(x).float()).to(x.dtype))


class Stopped(nn.Module):
    """A part of it runs under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = torch.tanh(self.inner(x))
        return self.outer(h) + x[:, :2]


# --- writing in place, forms of outputs ---


class InPlace(nn.Module):
    """Writes over its input, over what a layer gave and with in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.bend, self.outer = nn.Linear(3, 3), nn.ELU(inplace=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x *= 0.5
        h = self.bend(self.inner(x)).clone()
        h += 1
        return self.outer(h.tanh_())


class Shaped(nn.Module):
    """What a small network gives, in another form."""

    def __init__(self, outputs: int = 2, shape: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.inner, self.outer, self.shape = nn.Linear(3, 3), nn.Linear(3, outputs), shape

    def forward(self, x: Tensor) -> Any:
        return self.shape(self.outer(torch.tanh(self.inner(x))))


def squeezing() -> nn.Module:
    """Of one row it gives no axis of rows."""
    return Shaped(2, lambda y: y.reshape(1, -1, 2).squeeze())


def transposed() -> nn.Module:
    return Shaped(2, lambda y: y.T.contiguous().T)


# --- derivatives ---


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * g


class Once(torch.autograd.Function):
    """A backward that cannot be differentiated, and says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * g


class Silent(torch.autograd.Function):
    """A backward that loses the graph without a word."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = 2 * x.detach().numpy()
        return x.square()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * torch.from_numpy(ctx.slope)


class Wrong(torch.autograd.Function):
    """A backward that is wrong."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 1.9 * ctx.saved_tensors[0] * g


class Broken(torch.autograd.Function):
    """A backward that raises."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.square()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        raise ZeroDivisionError("a slope by zero")


class Between(nn.Module):
    """A function between two layers."""

    def __init__(self, call: Callable[[Tensor], Tensor], width: int = 3) -> None:
        super().__init__()
        self.inner, self.outer, self.call = nn.Linear(3, 3), nn.Linear(width, 2), call

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.call(self.inner(x)))


def distances(h: Tensor) -> Tensor:
    return torch.cdist(h, torch.linspace(-1, 1, 12, dtype=h.dtype).reshape(4, 3))


def by_numpy(h: Tensor) -> Tensor:
    return torch.from_numpy(np.tanh(h.detach().numpy()))


def with_gradient(h: Tensor) -> Tensor:
    """A derivative inside, as of energies."""
    with torch.enable_grad():
        h = h if h.requires_grad else h.detach().requires_grad_()
        (g,) = torch.autograd.grad(h.tanh().pow(3).sum(), h, create_graph=True)
    return g


def looped(h: Tensor) -> Tensor:
    """A decision by the values, which vmap cannot follow."""
    return torch.stack([row.tanh() if float(row.sum()) > 0 else row.sin() for row in h])


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.outer, self.reentrant = nn.Linear(3, 3), nn.Linear(3, 2), reentrant

    def part(self, x: Tensor) -> Tensor:
        return torch.tanh(self.inner(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(checkpoint(self.part, x, use_reentrant=self.reentrant))


# --- layers of torch's own ---


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.cell, self.out = kind(1, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x.unsqueeze(-1))[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.attention = nn.Linear(1, 4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x.unsqueeze(-1))
        return self.out(self.attention(h, h, h)[0].mean(1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(1, 4), nn.Linear(4, 2)
        self.encoder = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, activation="gelu")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(self.up(x.unsqueeze(-1))).mean(1))


class Words(nn.Module):
    """An embedding of the codes, with what ``options`` say."""

    def __init__(self, size: int = 5, **options: Any) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(size, 3, **options), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(x).mean(1)))


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.EmbeddingBag(5, 3, mode="mean"), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(x)))


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def hardsigmoid() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Hardsigmoid(), nn.Linear(4, 2))


def parallel() -> nn.Module:
    return nn.DataParallel(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


def traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        return torch.jit.trace(module, torch.zeros(2, 3))


def script_inside() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.Linear(3, 4), torch.jit.script(nn.Sequential(nn.Tanh(), nn.Linear(4, 2))))


def symbolic() -> nn.Module:
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


def compiled(backend: str = "inductor") -> nn.Module:
    return torch.compile(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), backend=backend)


def compiled_inside() -> nn.Module:
    part = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), backend="aot_eager")
    return nn.Sequential(part, nn.Linear(4, 2))


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


def nested() -> nn.Module:
    bend = nn.Tanh()
    return nn.Sequential(nn.Sequential(nn.Linear(3, 3), bend), nn.Sequential(bend, nn.Linear(3, 2)), nn.Identity())


class Functional(nn.Module):
    """Calls another module by functional_call, with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.tensor(0.7)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        given = {name: p * self.scale for name, p in self.inner.named_parameters()}
        return torch.tanh(torch.func.functional_call(self.inner, given, (x,)))


def hooked() -> nn.Module:
    """Hooks that change what passes, forward and backward (the latter by no more than a copy)."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    module[0].register_forward_hook(lambda m, args, y: 2 * y)
    module[2].register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    module[0].register_full_backward_hook(lambda m, gi, go: None)
    return module


def monkeypatched() -> nn.Module:
    """A forward that was put on the module, and closes over it: a copy of it runs on the weights of the first."""
    module = nn.Linear(3, 2)
    module.forward = lambda x: functional.linear(x, module.weight, module.bias)  # type: ignore[method-assign]
    return module


# --- mischief ---


class Calls(nn.Module):
    """Does something at each call."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__()
        self.fc, self.action = nn.Linear(3, 2), action

    def forward(self, x: Tensor) -> Tensor:
        self.action()
        return self.fc(torch.tanh(x))


class Later(nn.Module):
    """Raises at its 40th call, or what it is given."""

    def __init__(self, error: type[BaseException] = ValueError) -> None:
        super().__init__()
        self.fc, self.error, self.box = nn.Linear(3, 2), error, [0]

    def forward(self, x: Tensor) -> Tensor:
        self.box[0] += 1
        if self.box[0] > 40:
            raise self.error("had enough")
        return self.fc(torch.tanh(x))


class Outside(nn.Module):
    """Raises where its weights have moved: not at the first look."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("first", self.fc.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        if float((self.fc.weight.detach() - self.first).abs().max()) > 0:
            raise ArithmeticError("the weights have moved\nand this is a second line")
        return self.fc(torch.tanh(x))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.dropout(x, 0.5))


class Locked(nn.Module):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lock = nn.Linear(3, 2), threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return torch.tanh(self.fc(x))


class NoCopies(nn.Linear):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("no copies of me")


KEPT: dict[str, nn.Module] = {}


def kept(name: str = "net") -> nn.Module:
    """The same module whenever it is asked for, in training mode, with gradients, a hook and a frozen part."""
    if name not in KEPT:
        generator = torch.Generator().manual_seed(7)
        module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2))
        for p in module.parameters():
            p.data = torch.randn(p.shape, generator=generator)
            p.grad = torch.ones_like(p)
        module[0].bias.requires_grad_(False)
        module[3].register_forward_hook(lambda m, args, y: y + 0.1)
        KEPT[name] = module.train()
    return KEPT[name]


@functools.cache
def locked_and_kept() -> nn.Module:
    """Can neither be copied nor made twice."""
    return Locked()


def leaving(code: object = 0) -> Callable[[], Any]:
    return lambda: sys.exit(code)


def raising(error: BaseException) -> Callable[[], Any]:
    def action() -> None:
        raise error

    return action


def factory_that_leaves() -> nn.Module:
    sys.exit("not today")


def rows_that_leave(**given: Any) -> Data:
    sys.exit(0)


@dataclass(frozen=True)
class Kind:
    """``order``: how many derivatives by parameters torch has (and their values are right); 0 where nothing is known
    to be right, and only a refusal or a refutation will do. ``inputs``: the same of derivatives by the inputs.
    ``refused``: every topic says no. ``slow``: compiles."""

    make: Callable[[], nn.Module]
    order: int = 2
    inputs: int = 2
    codes: bool = False
    refused: bool = False
    slow: bool = False
    apart: bool = True  # rows do not mix
    rough: bool = False  # float32 inside
    doubted: bool = False  # autograd's derivative is none of the function's: evidence is to refute it
    same: Callable[[], nn.Module] | None = None  # a plain module with these values, where autograd cannot be asked


def of(made: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> Callable[[], nn.Module]:
    return functools.partial(made, *args, **kwargs)


KINDS: dict[str, Kind] = {
    "counter": Kind(Counter),
    "counting_sequence": Kind(counting_sequence),
    "plain_state": Kind(Plain),
    "training": Kind(Training, apart=False),
    "batch_norm": Kind(batch_norm),
    "running": Kind(Running),
    "tied": Kind(Tied),
    "shared": Kind(shared),
    "spectral_old": Kind(spectral_old),
    "spectral": Kind(spectral),
    "weight_norm_old": Kind(weight_norm_old, order=1),
    "weight_norm": Kind(weight_norm, order=1),
    "parametrised": Kind(parametrised),
    "frozen": Kind(frozen),
    "lazy": Kind(lazy),
    "nothing": Kind(Nothing, order=0),
    "empty": Kind(Empty),
    "listed": Kind(Listed, refused=True),
    "half": Kind(Half, rough=True, doubted=True),
    "stopped": Kind(Stopped, doubted=True),
    "in_place": Kind(InPlace),
    "squeezing": Kind(squeezing),
    "one_squeezed": Kind(of(Shaped, 1, lambda y: y.squeeze())),
    "transposed": Kind(transposed),
    "number": Kind(of(Shaped, 2, lambda y: y.sum()), refused=True),
    "complex": Kind(of(Shaped, 2, lambda y: torch.complex(y, y)), refused=True),
    "integer": Kind(of(Shaped, 2, lambda y: y.long()), refused=True),
    "tuple": Kind(of(Shaped, 2, lambda y: (y, y)), same=of(Shaped)),
    "dict": Kind(of(Shaped, 2, lambda y: {"y": y}), same=of(Shaped)),
    "none": Kind(of(Shaped, 2, lambda y: None), refused=True),
    "nan": Kind(of(Shaped, 2, lambda y: y / 0 - y / 0), order=0, inputs=0),
    "custom_twice": Kind(of(Between, Square.apply)),
    "custom_once": Kind(of(Between, Once.apply), order=1, inputs=1),
    "custom_silent": Kind(of(Between, Silent.apply), order=1, inputs=1),
    "custom_wrong": Kind(of(Between, Wrong.apply), order=0, inputs=0),
    "custom_broken": Kind(of(Between, Broken.apply), order=0, inputs=0),
    "cdist": Kind(of(Between, distances, 4), order=1, inputs=1),
    "numpy": Kind(of(Between, by_numpy), order=0, inputs=0),
    "energy": Kind(of(Between, with_gradient)),
    "looped": Kind(of(Between, looped)),
    "checkpointed": Kind(of(Checkpointed, False)),
    "reentrant": Kind(of(Checkpointed, True), same=of(Checkpointed, False)),
    "lstm": Kind(of(Recurrent, nn.LSTM)),
    "gru": Kind(of(Recurrent, nn.GRU)),
    "attention": Kind(Attending),
    "encoder": Kind(Encoder),
    "embedding": Kind(Words, codes=True),
    "embedding_padded": Kind(of(Words, padding_idx=0), codes=True, doubted=True),
    "embedding_by_frequency": Kind(of(Words, scale_grad_by_freq=True), codes=True, order=0),
    "embedding_short": Kind(of(Words, size=4), codes=True, refused=True),
    "embedding_max_norm": Kind(of(Words, max_norm=0.5), codes=True, order=0),
    "embedding_sparse": Kind(of(Words, sparse=True), codes=True),
    "bag": Kind(Bag, codes=True),
    "hardsigmoid": Kind(hardsigmoid, order=1, inputs=1),
    "parallel": Kind(parallel, same=of(plain_net)),
    "scripted": Kind(scripted, same=of(plain_net)),
    "traced": Kind(traced, same=of(plain_net)),
    "script_inside": Kind(script_inside, same=of(plain_net)),
    "symbolic": Kind(symbolic),
    "compiled": Kind(compiled, slow=True, same=of(plain_net)),
    "compiled_aot": Kind(of(compiled, "aot_eager"), slow=True, same=of(plain_net)),
    "compiled_eager": Kind(of(compiled, "eager"), slow=True, same=of(plain_net)),
    "compiled_inside": Kind(compiled_inside, slow=True, same=of(plain_net)),
    "quantised": Kind(quantised, refused=True),
    "nested": Kind(nested),
    "functional": Kind(Functional),
    "hooked": Kind(hooked),
    "monkeypatched": Kind(monkeypatched, same=of(nn.Linear, 3, 2)),
    "printing": Kind(of(Calls, of(print, "hello"))),
    "noisy": Kind(Noisy, refused=True),
    "random": Kind(of(Shaped, 2, lambda y: y * torch.rand(())), refused=True),
    "raising": Kind(of(Calls, raising(KeyError("no such thing"))), refused=True),
    "leaving": Kind(of(Calls, leaving(0)), refused=True),
    "interrupting": Kind(of(Calls, raising(KeyboardInterrupt())), refused=True),
    "later": Kind(Later, order=0, inputs=0),
    "later_leaving": Kind(of(Later, SystemExit), order=0, inputs=0),
    "later_interrupting": Kind(of(Later, KeyboardInterrupt), order=0, inputs=0),
    "outside": Kind(Outside, order=0, inputs=0),
    "locked": Kind(Locked),
    "no_copies": Kind(of(NoCopies, 3, 2)),
    "kept": Kind(kept),
    "locked_and_kept": Kind(locked_and_kept, refused=True),
    "factory_leaves": Kind(factory_that_leaves, refused=True),
}


def make(kind: str) -> nn.Module:
    """What `network._target_` names."""
    return KINDS[kind].make()
