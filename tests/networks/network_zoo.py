"""Networks that nobody here wrote, each with a loss and a loader: torchvision, timm, transformers, and others.

All are small, with random weights from a seed, and in float64. ``pip install -c constraints.txt -e '.[networks]'``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

ROWS, TOKENS, VOCABULARY, CLASSES = 6, 5, 11, 3
Criterion = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A module, a criterion of (outputs, targets), and rows: inputs (B, ...) and targets (B, ...).

    ``lr`` is the rate of its descent, ``output`` which of several things that it gives is looked at (None: the logits).
    """

    module: nn.Module
    criterion: Criterion
    inputs: Tensor
    targets: Tensor
    lr: float = 0.01
    output: int | None = None

    @property
    def loader(self) -> DataLoader[Any]:
        """Batches of unequal size, in order."""
        return DataLoader(TensorDataset(self.inputs, self.targets), batch_size=4)

    @property
    def count(self) -> int:
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)


ZOO: dict[str, tuple[str, Callable[[], Case]]] = {}  # name: (package, how it is made)


def network(package: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Names a case after its function, and keeps it."""

    def keep(make: Callable[[], Case]) -> Callable[[], Case]:
        ZOO[make.__name__] = (package, make)
        return make

    return keep


def case(name: str) -> Case:
    """The case, made from its own seed; ImportError where its package is not installed."""
    package, make = ZOO[name]
    if package in ("torchvision", "timm", "transformers", "vit_pytorch"):
        load_torchvision()
    importlib.import_module(package)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def load_torchvision() -> None:
    """torchvision's compiled operators are built for one build of torch; without them it does not even import. Its
    networks need none of them: they are declared, and not defined. Where it is not installed, nobody imports it."""
    if importlib.util.find_spec("torchvision") is None:
        return
    with contextlib.suppress(RuntimeError):
        importlib.import_module("torchvision")
        return
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    DECLARED.append(library)
    importlib.import_module("torchvision")


DECLARED: list[Any] = []  # a library lives as long as its object


# --- rows ---


def images(size: int = 16, channels: int = 3, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, channels, size, size, dtype=torch.float64), torch.arange(rows) % CLASSES


def digits(size: int, rows: int) -> tuple[Tensor, Tensor]:
    """Real images: black around the figure, where exact zeros meet a ReLU, or a norm of nothing but zeros."""
    from sklearn.datasets import load_digits

    found = torch.tensor(load_digits().images[:rows] / 16)
    large = found.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2)
    return large[:, None].expand(-1, 3, -1, -1).contiguous(), torch.arange(rows) % CLASSES


def tokens(rows: int = ROWS, length: int = TOKENS) -> Tensor:
    return torch.randint(1, VOCABULARY, (rows, length))


def moved(module: nn.Module) -> nn.Module:
    """A little away from weights at which a head gives zeros, whatever comes before it."""
    with torch.no_grad():
        for p in module.parameters():
            p += 0.05 * torch.randn_like(p)
    return module


def classifier(module: nn.Module, size: int = 16, **known: Any) -> Case:
    """A classifier of small images."""
    X, y = known.pop("given", None) or images(size)
    return Case(module.double().eval(), nn.CrossEntropyLoss(), X, y, **known)


# --- torchvision ---


@network("torchvision")
def resnet18() -> Case:
    """The whole of it, of which the first layer and the head are learned: the others are frozen."""
    from torchvision.models import resnet18

    module = resnet18(num_classes=CLASSES)
    for name, p in module.named_parameters():
        p.requires_grad_(name.startswith(("fc", "conv1", "bn1")))
    return classifier(module, given=digits(16, 4))


@network("torchvision")
def mobilenet_v3() -> Case:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    blocks = [
        InvertedResidualConfig(8, 3, 16, 8, True, "RE", 2, 1, 1.0),
        InvertedResidualConfig(8, 3, 24, 12, True, "HS", 2, 1, 1.0),
    ]
    module = MobileNetV3(blocks, last_channel=32, num_classes=CLASSES)
    return classifier(module)


@network("torchvision")
def convnext_tiny() -> Case:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    module = ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)], num_classes=CLASSES)
    return classifier(module, given=digits(16, ROWS))


@network("torchvision")
def vit_b() -> Case:
    from torchvision.models import VisionTransformer

    return classifier(moved(VisionTransformer(16, 4, 2, 2, 16, 32, num_classes=CLASSES)))


@network("torchvision")
def regnet() -> Case:
    from torchvision.models.regnet import BlockParams, RegNet

    parts = BlockParams.from_init_params(depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25)
    return classifier(RegNet(parts, num_classes=CLASSES, stem_width=8))


@network("torchvision")
def swin() -> Case:
    from torchvision.models import SwinTransformer

    return classifier(SwinTransformer([2, 2], 8, [1, 2], [1, 2], [2, 2], num_classes=CLASSES))


@network("torchvision")
def densenet() -> Case:
    from torchvision.models import DenseNet

    return classifier(DenseNet(4, (2, 2), 8, num_classes=CLASSES), 32)


# --- timm ---


@network("timm")
def efficientnet() -> Case:
    import timm

    blocks = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r1_k3_s2_e4_c16_se0.25"]]
    parts = timm.models._efficientnet_builder.decode_arch_def(blocks)
    module = timm.models.EfficientNet(parts, CLASSES, num_features=32, stem_size=8, act_layer=nn.SiLU)
    return classifier(module)


@network("timm")
def mixer() -> Case:
    from timm.models.mlp_mixer import MlpMixer

    return classifier(moved(MlpMixer(num_classes=CLASSES, img_size=16, patch_size=4, num_blocks=2, embed_dim=16)))


@network("timm")
def deit() -> Case:
    import timm

    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return classifier(timm.create_model("deit_tiny_patch16_224", num_classes=CLASSES, **sizes))


@network("timm")
def resnetv2() -> Case:
    from timm.layers import GroupNormAct
    from timm.models.resnetv2 import ResNetV2

    norm = functools.partial(GroupNormAct, num_groups=8)
    return classifier(ResNetV2([1, 1], (32, 32), num_classes=CLASSES, stem_chs=8, norm_layer=norm), 32)


# --- transformers ---


def each_token(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of all tokens, or nodes, of all rows: outputs (B, T, V), targets (B, T)."""
    return functional.cross_entropy(outputs.flatten(0, 1), targets.long().flatten())


def language(module: nn.Module, **known: Any) -> Case:
    ids = tokens(length=TOKENS + 1)
    return Case(module.double().eval(), each_token, ids[:, :-1], ids[:, 1:], **known)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@network("transformers")
def gpt2() -> Case:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return language(GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **sizes, bos_token_id=1, eos_token_id=1)))


@network("transformers")
def llama() -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    return language(LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SMALL, max_position_embeddings=8)))


@network("transformers")
def mixtral() -> Case:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {**SMALL, "num_key_value_heads": 2, "num_local_experts": 3, "experts_implementation": "eager"}
    return language(MixtralForCausalLM(MixtralConfig(vocab_size=VOCABULARY, **sizes)))


@network("transformers")
def bert() -> Case:
    from transformers import BertConfig, BertForSequenceClassification

    module = BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, **SMALL, num_labels=CLASSES))
    ids = tokens()
    ids[1, 3:] = 0  # padded: row 0 of the embedding has no gradient by design
    return Case(module.double().eval(), nn.CrossEntropyLoss(), ids, torch.arange(ROWS) % CLASSES)


@network("transformers")
def distilbert() -> Case:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 8}
    module = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=VOCABULARY, **sizes, num_labels=CLASSES))
    return Case(module.double().eval(), nn.CrossEntropyLoss(), tokens(), torch.arange(ROWS) % CLASSES)


@network("transformers")
def t5() -> Case:
    from transformers import T5Config, T5ForSequenceClassification

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "num_labels": CLASSES}
    sizes |= {"eos_token_id": VOCABULARY - 1, "decoder_start_token_id": 0}
    module = T5ForSequenceClassification(T5Config(vocab_size=VOCABULARY, **sizes))
    ids = torch.cat([torch.randint(1, VOCABULARY - 1, (ROWS, 4)), torch.full((ROWS, 1), VOCABULARY - 1)], 1)
    return Case(module.double().eval(), nn.CrossEntropyLoss(), ids, torch.arange(ROWS) % CLASSES)


@network("transformers")
def vit_hf() -> Case:
    from transformers import ViTConfig, ViTForImageClassification

    module = ViTForImageClassification(ViTConfig(**SMALL, image_size=16, patch_size=4, num_labels=CLASSES))
    return classifier(module)


# --- vit-pytorch, x-transformers, mixture-of-experts, siren-pytorch ---


@network("vit_pytorch")
def simple_vit() -> Case:
    from vit_pytorch import SimpleViT

    return classifier(SimpleViT(image_size=16, patch_size=4, num_classes=CLASSES, dim=16, depth=2, heads=2, mlp_dim=32))


@network("vit_pytorch")
def cct() -> Case:
    from vit_pytorch.cct import CCT

    sizes = {"embedding_dim": 16, "n_conv_layers": 1, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2}
    return classifier(CCT(img_size=16, **sizes, num_classes=CLASSES))


@network("x_transformers")
def x_decoder() -> Case:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=16, depth=2, heads=2, attn_dim_head=8, use_rmsnorm=True, rotary_pos_emb=True)
    ids = tokens(length=TOKENS + 1)
    module = TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=8, attn_layers=layers)
    return Case(module.double().eval(), each_token, ids[:, :-1], ids[:, 1:])


@network("mixture_of_experts")
def experts() -> Case:
    """Every expert has room for every token, so that no row depends on another."""
    from mixture_of_experts import MoE

    module = MoE(dim=8, num_experts=3, hidden_dim=16, capacity_factor_eval=8.0, second_policy_eval="all")
    X = torch.randn(ROWS, TOKENS, 8, dtype=torch.float64)
    return Case(module.double().eval(), token_mse, X, torch.randn(ROWS, TOKENS, 8, dtype=torch.float64), output=0)


def token_mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets.reshape(outputs.shape)).square().mean()


class Poisson(nn.Module):
    """The residual u'' + π² sin πx and the values of a network u at points x (B, 1), by derivatives by its input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.requires_grad_()
            u = self.module(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return torch.cat([bend + torch.pi**2 * torch.sin(torch.pi * x), u], 1)


def physics(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean square of the residual, and of the values beside the targets."""
    return outputs[:, 0].square().mean() + (outputs[:, 1:] - targets).square().mean()


@network("siren_pytorch")
def physics_informed() -> Case:
    from siren_pytorch import SirenNet

    module = SirenNet(dim_in=1, dim_hidden=16, dim_out=1, num_layers=2, w0_initial=3.0)
    X = torch.linspace(-1, 1, 2 * ROWS, dtype=torch.float64)[:, None]
    return Case(Poisson(module.double().eval()), physics, X, torch.sin(torch.pi * X), lr=1e-4)


# --- torch_geometric, nflows, MONAI, torch itself ---


class Nodes(nn.Module):
    """A graph network; a graph is a row: features of its nodes (1, N, d) to (1, N, classes)."""

    def __init__(self, module: nn.Module, edges: Tensor) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("edges", edges)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.module(x[0], self.edges)
        return found[None]


def graph(module: nn.Module) -> Case:
    nodes = 2 * ROWS
    ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
    edges = torch.cat([ring, ring.flip(0), torch.randint(0, nodes, (2, 6))], 1)
    X = torch.randn(1, nodes, 7, dtype=torch.float64)
    whole = Nodes(module.double().eval(), edges)
    return Case(whole, each_token, X, torch.arange(nodes)[None] % CLASSES)


@network("torch_geometric")
def gcn() -> Case:
    from torch_geometric.nn import GCN

    return graph(GCN(7, 16, 2, CLASSES, act="tanh"))


@network("torch_geometric")
def gat() -> Case:
    from torch_geometric.nn import GAT

    return graph(GAT(7, 16, 2, CLASSES, heads=2))


class Density(nn.Module):
    """log p(x) of a flow (B, 1)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.module.log_prob(x)[:, None]
        return found


def surprise(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log p, the mean over the rows."""
    return -outputs.mean()


@network("nflows")
def flow() -> Case:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import (
        CompositeTransform,
        MaskedAffineAutoregressiveTransform,
        ReversePermutation,
    )

    parts = [
        part
        for _ in range(2)
        for part in (ReversePermutation(3), MaskedAffineAutoregressiveTransform(3, 12, activation=torch.tanh))
    ]
    module = Flow(CompositeTransform(parts), StandardNormal([3]))
    X = torch.randn(2 * ROWS, 3, dtype=torch.float64)
    return Case(Density(module.double().eval()), surprise, X, torch.zeros(2 * ROWS, dtype=torch.float64))


@network("monai")
def unet() -> Case:
    from monai.networks.nets import BasicUNet

    module = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=(4, 4, 8, 8, 8, 4))
    X = torch.randn(3, 1, 32, 32, dtype=torch.float64)
    return Case(module.double().eval(), pixels, X, (X > 0.5).double())


def pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, targets.reshape(outputs.shape))


class Last(nn.Module):
    """A recurrent layer, whose last state is read."""

    def __init__(self, layer: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.layer, self.read = layer, nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.read(self.layer(x)[0][:, -1])
        return found


@network("torch")
def lstm() -> Case:
    module = Last(nn.LSTM(5, 12, num_layers=2, batch_first=True), 12, CLASSES)
    X = torch.randn(ROWS, 7, 5, dtype=torch.float64)
    return Case(module.double().eval(), nn.CrossEntropyLoss(), X, torch.arange(ROWS) % CLASSES, lr=0.1)
