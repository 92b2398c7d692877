"""How much a layer can stretch: L with ‖f(x) - f(y)‖ ≤ L ‖x - y‖ wherever x and y are.

    linear, W                σ_1(W); of a large one ‖(WᵀW)^(2^t)‖_F^(1/2^(t+1)), Gram iteration (Delattre et al. 2023)
    convolution              σ_1 of its matrix; of a large one the norm of the circular one on a larger image (below)
    any linear map A         √(‖A‖_1 ‖A‖_∞), the largest sums of |entries| of columns and rows
    activation               its steepest slope
    normalisation by rows    max|γ| / √ε, since it divides by √(variance + ε): nearly constant inputs reach that
    max-pooling              √(how many windows an input can be the largest of)

All of these hold: they are norms, or bounds of them from above. Their product along a path bounds the Lipschitz
constant of a network (Szegedy et al. 2014, section 4.3). What is not known has None, and is never guessed.

>>> layer = Layer("", nn.Linear(3, 3), (3,), (3,))
>>> with torch.no_grad():
...     _ = layer.module.weight.copy_(torch.diag(torch.tensor([1.0, -4.0, 2.0])))
>>> norm(layer), round(gram(layer.module.weight.detach()), 3), norm(Layer("", nn.Sigmoid(), (3,), (3,)))
(4.0, 4.0, 0.25)
"""

from __future__ import annotations

from math import ceil, prod

import torch
from torch import Tensor, nn

from calclab.core.values import wide
from calclab.numerics.jacobian.layers import Layer, passes, scale
from calclab.numerics.jacobian.windows import geometry

DENSE = 2048  # rows and columns up to which the norm of a layer's matrix is computed
WORK = 5e9  # operations for the norms at all frequencies
GRAMS = 8  # squarings: the factor in excess is at most (rank)^(1/2^(GRAMS + 1))
STEEPEST: dict[type[nn.Module], float] = {  # the largest |slope| of an activation
    **dict.fromkeys((nn.ReLU, nn.Tanh, nn.Softplus, nn.LogSigmoid, nn.Hardtanh, nn.ReLU6, nn.Softsign), 1.0),
    **{nn.Tanhshrink: 1.0, nn.CELU: 1.0, nn.Sigmoid: 0.25, nn.Hardsigmoid: 0.1666667},
    nn.GELU: 1.1289041617,  # at √2
    nn.SiLU: 1.0998393201,  # at 2.3994
    nn.Softmax: 0.5,  # diag(p) - ppᵀ: rows have |entries| of sum 2 p (1 - p)
}
POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)


def norm(layer: Layer) -> float | None:
    """L of the layer; None where none is known."""
    module = layer.module
    if passes(module):
        return 1.0
    if differs(module):
        return None
    slope = steepest(module)
    if slope is not None:
        return slope
    constant = scale(module)
    if constant is not None:
        return float(constant.abs().max())
    if type(module) is nn.Linear:
        return largest(module.weight.detach())
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return of_convolution(layer)
    if isinstance(module, POOLS):
        return of_sums(layer, None)
    if type(module) in (nn.MaxPool1d, nn.MaxPool2d):
        found = geometry(module, len(layer.before) - 1)
        # every input is the largest of at most so many windows
        return None if found is None else prod(ceil(kernel / stride) for kernel, stride, _ in found) ** 0.5
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d):
        kept = getattr(module, "track_running_stats", False)
        weight = module.weight
        return None if kept else (1.0 if weight is None else float(weight.detach().abs().max())) / module.eps**0.5
    return None


def differs(module: nn.Module) -> bool:
    """Whether the module is of a subclass that does something else than the layer of torch that it is derived from."""
    base = next((kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules")), nn.Module)
    names = ("forward", "_conv_forward")
    return base is not nn.Module and any(getattr(type(module), n, None) is not getattr(base, n, None) for n in names)


def steepest(module: nn.Module) -> float | None:
    """The largest |slope| of an activation; None of what is none that is known."""
    if type(module) is nn.ELU:
        return max(1.0, float(module.alpha))
    if type(module) is nn.LeakyReLU:
        return max(1.0, abs(float(module.negative_slope)))
    if type(module) is nn.GELU and module.approximate == "tanh":
        return 1.1292
    if type(module).__name__ == "Softplus" and not any(True for _ in module.parameters()):
        return 1.0
    return STEEPEST.get(type(module))


def largest(W: Tensor) -> float:
    """σ_1 of W (m, n), or a bound from above. Of a long matrix by the smaller of WᵀW and WWᵀ, in float64, since that
    squares the condition."""
    if min(W.shape) <= DENSE:
        G = (W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W).to(wide(W.device)) if max(W.shape) > DENSE else None
        if G is None:
            return float(torch.linalg.matrix_norm(W, 2))
        return float(torch.linalg.eigvalsh(G)[-1]) ** 0.5
    return gram(W)


def gram(W: Tensor) -> float:
    """Gram iteration (Delattre et al. 2023, algorithm 1), scaled so that nothing overflows: a bound of σ_1 from above,

        σ_1 ≤ ‖G_t‖_F^(1/2^t),  G_0 = W, G_{t+1} = G_tᵀ G_t,

    since ‖G‖_2 ≤ ‖G‖_F and ‖GᵀG‖_2 = ‖G‖_2²; in excess by at most (rank)^(1/2^(t+1)), which falls to 1.
    """
    A, logarithm, power = W.to(wide(W.device)), 0.0, 1
    for _ in range(GRAMS):
        size = A.norm()
        A, logarithm = A / size, logarithm + float(size.log()) / power
        A = A @ A.T if A.shape[0] <= A.shape[1] else A.T @ A
        power *= 2
    return float(torch.tensor(logarithm + float(A.norm().log()) / power, dtype=torch.float64).exp())


def of_convolution(layer: Layer) -> float:
    """σ_1 of the layer's matrix, or the least of the bounds."""
    module = layer.module
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    n, m = prod(layer.before), prod(layer.after)
    with torch.no_grad():
        if max(n, m) <= DENSE:
            return float(torch.linalg.matrix_norm(matrix(layer, module.weight.dtype), 2))
        bounds = [of_sums(layer, module)]
        work = prod(layer.before[1:]) * max(module.weight.shape[:2]) ** 3
        if module.padding_mode == "zeros" and module.groups == 1 and work <= WORK:
            bounds.append(circular(layer))
    return min(bounds)


def matrix(layer: Layer, dtype: torch.dtype) -> Tensor:
    """The layer's matrix, transposed, (n, m): what it makes of unit vectors, without its bias."""
    module = layer.module
    unit = torch.eye(prod(layer.before), dtype=dtype, device=next(module.parameters()).device)
    zero = module(unit.new_zeros(1, *layer.before)).reshape(1, -1)
    found: Tensor = module(unit.reshape(-1, *layer.before)).reshape(len(unit), -1) - zero
    return found


def circular(layer: Layer) -> float:
    """A convolution with zeros around an image of n pixels gives a part of what the circular one gives on an image of
    n + k - 1, itself padded by zeros: its norm is at most that one's, the largest of the kernel's Fourier transform
    (Sedghi et al. 2019, theorem 6), a matrix (channels, channels) for every frequency. Strides leave rows out.
    """
    module = layer.module
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    axes = len(layer.before) - 1
    sizes = [(k - 1) * d + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    image = [size + k - 1 for size, k in zip(layer.before[1:], sizes, strict=True)]
    weight = module.weight.detach().to(wide(module.weight.device))
    spread = weight.new_zeros(*weight.shape[:2], *sizes)
    spread[:, :, :: module.dilation[0], *(slice(None, None, d) for d in module.dilation[1:])] = weight
    frequencies = torch.fft.rfftn(spread, s=image, dim=tuple(range(2, 2 + axes)))
    return float(torch.linalg.matrix_norm(frequencies.flatten(2).movedim(2, 0), 2).max())


def of_sums(layer: Layer, module: nn.Conv1d | nn.Conv2d | None) -> float:
    """√(‖A‖_1 ‖A‖_∞) ≥ ‖A‖ of a linear layer, the largest sums of |entries| of a column and of a row (Golub and Van
    Loan 2013, corollary 2.3.2). A pool's entries are none below zero."""
    made = layer.module
    weight = None if module is None else module.weight
    with torch.enable_grad():
        dtype, device = (torch.float64, None) if weight is None else (weight.dtype, weight.device)
        ones = torch.ones(1, *layer.before, dtype=dtype, device=device, requires_grad=True)
        if module is None:
            y = made(ones)
        else:
            own = {"weight": module.weight.detach().abs()}
            own |= {} if module.bias is None else {"bias": torch.zeros_like(module.bias)}
            y = torch.func.functional_call(module, own, (ones,))
        (columns,) = torch.autograd.grad(y.sum(), ones)
    return float((y.detach().max() * columns.max()).sqrt())
