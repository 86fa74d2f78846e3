"""Stock torch is captured as it is; what can't be is named by its module and line, and nothing is printed."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import net2net


def same(teacher: nn.Module, student: nn.Module, *args: Any, **kwargs: Any) -> None:
    """Both give the same, in eval mode; with gradients on, as torch's fast path takes each float mask for a boolean."""
    results = [pytree.tree_leaves(model.eval()(*args, **kwargs)) for model in (teacher, student)]
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= 1e-10 * ours.abs().max()


class Words(nn.Module):
    """A language model out of torch's own layers; `mask` makes its masks."""

    def __init__(self, mask: Callable[[Tensor], dict[str, Any]], norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first)
        self.words, self.out, self.mask = nn.Embedding(7, 8), nn.Linear(8, 5), mask
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.encoder(self.words(tokens), **self.mask(tokens)))


def causal(tokens: Tensor) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], dtype=torch.float64)


MASKS: dict[str, Callable[[Tensor], dict[str, Any]]] = {
    "causal": lambda t: {"mask": causal(t)},
    "boolean": lambda t: {"mask": causal(t) < 0},
    "hinted": lambda t: {"mask": causal(t), "is_causal": True},
    "band": lambda t: {"mask": torch.ones(t.shape[1], t.shape[1]).triu(2).double() * -3.0},
    "padding": lambda t: {"src_key_padding_mask": t == 0},
    "both": lambda t: {"mask": causal(t) < 0, "src_key_padding_mask": t == 0},
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("kind", MASKS)
def test_a_transformer_with_a_mask_grows(kind: str) -> None:
    torch.manual_seed(0)
    teacher, tokens = Words(MASKS[kind], norm_first=kind == "causal").double(), torch.randint(1, 7, (3, 6))
    tokens[0, 4:] = 0
    wider = net2net.widen(teacher, 2.0, tokens)
    assert not wider.plan.left_out
    deeper = net2net.deepen(teacher, {"encoder.layers": 1}, tokens)
    other = torch.randint(1, 7, (2, 9))
    other[1, 7:] = 0
    for growth in (wider, deeper):
        same(teacher, growth.student, tokens)
        same(teacher, growth.student, other)
        growth.student.train()(tokens).sum().backward()  # with torch's own detection of causal masks


@pytest.mark.parametrize("kind", ["none", "causal", "boolean", "free"])
def test_a_mask_is_an_input_of_encoder_and_decoder(kind: str) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.outside = nn.Linear(3, 8), nn.Linear(8, 4)
            self.both = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)

        def forward(self, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
            return self.outside(self.both(self.inside(a), self.inside(b), tgt_mask=mask))

    torch.manual_seed(0)
    full = causal(torch.zeros(1, 6))
    masks = {"none": None, "causal": full, "boolean": full < 0, "free": torch.randn(6, 6).double()}
    a, b = torch.randn(2, 5, 3).double(), torch.randn(2, 6, 3).double()
    inputs = {"a": a, "b": b, "mask": masks[kind]}
    teacher = Both().double()
    growth = net2net.widen(teacher, 2.0, inputs)
    for mask in masks.values():
        same(teacher, growth.student, a + 1, b, mask)


class Policy(nn.Module):
    def __init__(self, law: Callable[[Tensor, Tensor], Distribution]) -> None:
        super().__init__()
        self.body, self.head, self.value = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 1)
        self.log_std, self.law = nn.Parameter(torch.zeros(3)), law
        zero = torch.zeros(3, dtype=torch.float64)
        self.prior = Normal(zero, zero + 1, validate_args=True)

    def forward(self, x: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        hidden = torch.tanh(self.body(x))
        mean = self.head(hidden)
        found = self.law(mean, self.log_std.exp().expand_as(mean))
        entropy = () if isinstance(found, TransformedDistribution) else (found.entropy(),)
        return (self.value(hidden), found.log_prob(action), self.prior.log_prob(mean), *entropy)


CHOICES = torch.tensor([0, 1, 2, 0, 1])
LAWS: dict[str, tuple[Callable[[Tensor, Tensor], Distribution], Tensor]] = {
    "categorical": (lambda m, s: Categorical(logits=m), CHOICES),
    "categorical by hand": (lambda m, s: Categorical(m.softmax(-1), validate_args=True), CHOICES),
    "normal": (lambda m, s: Normal(m, s), torch.linspace(-1, 1, 15).view(5, 3).double()),
    "independent": (lambda m, s: Independent(Normal(m, s), 1), torch.linspace(-1, 1, 15).view(5, 3).double()),
    "bernoulli": (lambda m, s: Bernoulli(logits=m), (CHOICES[:, None] > torch.arange(3)).double()),
    "beta": (lambda m, s: Beta(m.exp(), s), torch.linspace(0.1, 0.9, 15).view(5, 3).double()),
    "gaussian": (lambda m, s: MultivariateNormal(m, torch.diag_embed(s)), torch.ones(5, 3).double()),
    "cholesky": (lambda m, s: MultivariateNormal(m, scale_tril=s.diag_embed()), torch.ones(5, 3).double()),
    "squashed": (
        lambda m, s: TransformedDistribution(Normal(m, s), [TanhTransform()]),
        torch.linspace(-0.9, 0.9, 15).view(5, 3).double(),
    ),
}


@pytest.mark.filterwarnings("ignore:no example reads 'log_std'")
@pytest.mark.parametrize("law", LAWS)
def test_distributions_in_a_forward(law: str) -> None:
    torch.manual_seed(0)
    make, action = LAWS[law]
    teacher, x = Policy(make).double(), torch.randn(5, 4).double()
    growth = net2net.widen(teacher, {"body": 13}, (x, action))
    same(teacher, growth.student, torch.randn(5, 4).double(), action)
    assert growth.student.prior._validate_args
    with pytest.raises(ValueError, match=r"Expected (value|parameter)"):  # arguments are checked as before
        growth.student(x, action * float("nan"))


def test_arguments_of_distributions_are_checked_after_a_capture_that_fails() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    with pytest.raises(net2net.CaptureError):
        net2net.analyze(Breaks(), torch.ones(2, 3))
    with pytest.raises(ValueError, match="Expected parameter"):
        Normal(torch.zeros(1), -torch.ones(1))


class Checkpointed(nn.Module):
    """Blocks whose activations are computed anew in the backward pass."""

    def __init__(self, reentrant: bool, way: str) -> None:
        super().__init__()
        self.inside, self.out, self.reentrant, self.way = nn.Linear(4, 8), nn.Linear(8, 3), reentrant, way
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 8)) for _ in range(2))

    def add(self, block: nn.Module, x: Tensor) -> Tensor:
        return x + block(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(x)
        for block in self.blocks:
            if self.way == "module":
                x = x + checkpoint(block, x, use_reentrant=self.reentrant)
            elif self.way == "method":
                x = checkpoint(self.add, block, x, use_reentrant=self.reentrant)
            elif self.way == "segments":
                x = x + checkpoint_sequential(block, 2, x, use_reentrant=self.reentrant)
            else:
                x = x + (checkpoint(block, x, use_reentrant=self.reentrant) if self.training else block(x))
        return self.out(x)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("way", ["module", "method", "segments", "training"])
def test_checkpointed_blocks_grow(way: str, reentrant: bool) -> None:
    torch.manual_seed(0)
    teacher, x = Checkpointed(reentrant, way).double(), torch.randn(5, 4).double()
    for growth in (net2net.widen(teacher, 2.0, x), net2net.deepen(teacher, {"blocks": 1}, x)):
        assert not growth.plan.left_out
        assert not growth.verification.dead
        same(teacher, growth.student, torch.randn(7, 4).double())
        growth.student.train()(x).sum().backward()
        assert all(p.grad is not None for p in growth.student.parameters())


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 3)).double()


class Compiled:
    """A backend of `torch.compile` that counts what it compiles."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        self.count += 1
        return module.forward


class Within(nn.Module):
    def __init__(self, backend: Compiled) -> None:
        super().__init__()
        self.inner, self.last = torch.compile(plain(), backend=backend), nn.Linear(3, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(x))


def test_a_compiled_network_grows_by_its_own_names() -> None:
    backend, x = Compiled(), torch.randn(5, 4).double()
    teacher = torch.compile(plain(), backend=backend)
    assert [d.name for d in net2net.analyze(teacher, x).growable()] == ["0", "2"]
    assert list(net2net.analyze(teacher, x).places) == ["0", "2"]
    for growth in (
        net2net.widen(teacher, {"0": 13, "_orig_mod.2": 11}, x),
        net2net.deepen(teacher, {"0": 1}, x),
        net2net.grow(teacher, x, sizes={"0": 13}, where={"2": 1}),
    ):
        assert "_orig_mod" not in " ".join([*growth.plan.left_out, *(w.dimension for w in growth.plan.widenings)])
        assert growth.student.state_dict().keys() >= {"_orig_mod.0.weight"}
        same(teacher._orig_mod, growth.student._orig_mod, x)
        backend.count = 0
        same(teacher._orig_mod, growth.student, x + 1)
        assert backend.count
    torch._dynamo.reset()


def test_a_compiled_part_of_a_network() -> None:
    backend, x = Compiled(), torch.randn(5, 4).double()
    teacher = Within(backend)
    growth = net2net.widen(teacher, {"inner.0": 13, "inner.2": "2x"}, x)
    deeper = net2net.deepen(teacher, {"inner.0": 1}, x)
    assert backend.count == 0  # nothing is compiled while it grows
    assert type(growth.student.inner) is type(teacher.inner)
    same(teacher, growth.student, x)
    same(teacher, deeper.student, x)
    with pytest.raises(net2net.UnknownNameError) as caught:
        net2net.widen(teacher, {"inner.00": 13}, x)
    assert "_orig_mod" not in str(caught.value)
    torch._dynamo.reset()


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 9), nn.Linear(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(x)))


def test_what_is_compiled_in_place_comes_back_compiled() -> None:
    backend, x = Compiled(), torch.randn(5, 4).double()
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 8), Added(), Added(), nn.Linear(8, 3)).double()
    for block in teacher[1:3]:
        block.compile(backend=backend)
    wider = net2net.widen(teacher, 2.0, x)
    growths = [wider, wider.replay(teacher), net2net.deepen(teacher, {"1": 2}, x)]
    assert backend.count == 0
    for growth in growths:
        compiled = [m for m in growth.student.modules() if m._compiled_call_impl is not None]
        assert compiled == [m for m in growth.student if isinstance(m, Added)]
        same(growth.teacher, growth.student, x)
        assert not growth.plan.notes
    assert backend.count
    torch._dynamo.reset()
    teacher = plain()
    teacher._compiled_call_impl = teacher._call_impl  # by something that can't be asked for its options
    assert "compile()" in net2net.widen(teacher, 2.0, x).plan.notes[0]


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x if x.sum() > 0 else -x


class Distilled(nn.Module):
    """Two layers whose results are split at the same sizes: neither grows alone."""

    def __init__(self, part: int = 5, rest: int = 7) -> None:
        super().__init__()
        self.sizes = (part, rest)
        self.a, self.b = nn.Linear(4, part + rest), nn.Linear(rest, part + rest)
        self.c = nn.Linear(2 * part + rest, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, rest = torch.split(torch.relu(self.a(x)), self.sizes, 1)
        two, rest = torch.split(torch.relu(self.b(rest)), self.sizes, 1)
        return self.c(torch.cat([one, two, rest], 1))


class Warns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("of the user's own", stacklevel=2)
        return x


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    x = torch.randn(5, 4).double()
    with pytest.raises(net2net.CaptureError):
        net2net.analyze(nn.Sequential(nn.Linear(4, 8), Branches()).double(), x)
    with pytest.raises(net2net.CaptureError):
        net2net.analyze(plain(), torch.randn(5, 5).double())  # of another shape
    with pytest.raises(net2net.CouplingError):
        net2net.widen(Distilled().double(), {"a": "2x"}, x)  # drafts fail
    teacher = nn.Sequential(Checkpointed(True, "training"), Warns()).double()
    net2net.widen(teacher, 2.0, x)
    net2net.deepen(teacher, {"0.blocks": 1}, x)
    assert capfd.readouterr() == ("", "")
    assert not [str(w.message) for w in recwarn]
    loggers = [logging.getLogger(name) for name in ("torch.fx.experimental.symbolic_shapes", "torch.export")]
    assert not any(logger.disabled for logger in loggers)


def refused(model: nn.Module, inputs: Any, *words: str) -> str:
    """The message of the refusal: at most five lines, with these words; the same from all that looks at a model."""
    messages = set()
    for call in (net2net.analyze, widened, deepened):
        with pytest.raises(net2net.CaptureError) as caught:
            call(model, inputs)
        messages.add(str(caught.value))
    (message,) = messages
    assert len(message.splitlines()) <= 5
    assert all(word in message for word in words), message
    return message


def widened(model: nn.Module, inputs: Any) -> net2net.Growth:
    return net2net.widen(model, 2.0, inputs)


def deepened(model: nn.Module, inputs: Any) -> net2net.Growth:
    return net2net.deepen(model, 2.0, inputs)


FILE = "test_capture.py:"


class Counts(nn.Module):
    """As mixtures of experts do it: how many rows each gets is read out of a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        counts = x.argmax(-1).bincount(minlength=8).tolist()
        return torch.cat([part * 2 for part in x.split(counts)])


class ThroughNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.detach().numpy().mean())


@pytest.mark.parametrize(
    ("part", "line"),
    [(Branches(), "return x if x.sum() > 0 else -x"), (Counts(), ".tolist()"), (ThroughNumpy(), ".numpy()")],
    ids=["branch", "tolist", "numpy"],
)
def test_a_forward_that_asks_for_values_is_named(part: nn.Module, line: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), part, nn.Linear(8, 3))
    refused(model, torch.randn(5, 4), "In '1'", FILE, line, "values of a tensor", "torch.where")


class Force(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Backwards(Force):
    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            self.energy(x).sum().backward()
        return x.grad


@pytest.mark.parametrize("part", [Force(), Backwards()], ids=["grad", "backward"])
def test_a_gradient_in_the_forward_is_named(part: nn.Module) -> None:
    refused(nn.Sequential(nn.Linear(4, 8), part), torch.randn(5, 4), "gradient in its forward", "In '1", "by itself")


def test_wrong_inputs_get_the_users_own_error() -> None:
    message = refused(plain(), torch.randn(5, 7).double(), "doesn't run on the example inputs", "5x7 and 4x8", "'0'")
    assert "torch.where" not in message
    assert "torch.export" not in message
    refused(plain(), (torch.randn(5, 4).double(),) * 2, "doesn't run on the example inputs", "positional arguments")
    refused(Compare(), torch.randn(5, 4), "doesn't run", "ValueError: a sentence", FILE, "raise ValueError")


class Compare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("a sentence\nand another")


@pytest.mark.filterwarnings("ignore")
def test_modules_that_cannot_be_captured_are_named() -> None:
    x = torch.randn(5, 4)
    net = plain().float()
    refused(nn.DataParallel(net), x, "DataParallel", "`model.module`", "wrap the student again")
    refused(nn.Sequential(nn.Linear(4, 4), nn.DataParallel(net)), x, "'1'", "`1.module`")
    refused(torch.ao.quantization.quantize_dynamic(net), x, "'0' is quantised", "before it is quantised")
    refused(nn.Sequential(nn.Linear(4, 4), torch.jit.script(net)), x, "'1'", "torch.jit")
    refused(torch.jit.trace(net, x), x, "the model is scripted or traced")
    refused(nn.Sequential(nn.Linear(4, 8), nn.LazyLinear(3)), x, "'1' is a LazyLinear", "call the model once")
    with torch.inference_mode():
        made = plain().float()
    refused(made, x, "'0.weight'", "inference mode")


@dataclass
class Result:
    scores: Tensor
    more: tuple[Tensor, ...]


class Structured(nn.Module):
    """Its result is a dataclass that torch doesn't know; so may be its input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Result:
        hidden = torch.relu(self.a(x.scores if isinstance(x, Result) else x))
        scores = self.b(hidden)
        return Result(scores, (scores.sum(1), scores.square().sum(1)))


def test_a_dataclass_as_a_result() -> None:
    torch.manual_seed(0)
    teacher, x = Structured().double(), torch.randn(5, 4).double()
    for growth in (net2net.widen(teacher, {"a": 13}, x), net2net.deepen(teacher, {"a": 1}, x)):
        assert set(growth.verification.errors) >= {"eval/given/scores", "eval/given/more'][0"}
        ours, theirs = teacher(x + 1), growth.student(x + 1)
        assert type(theirs) is Result
        assert (ours.scores - theirs.scores).abs().max() <= 1e-10
        assert (ours.more[1] - theirs.more[1]).abs().max() <= 1e-10 * ours.more[1].abs().max()
    refused(teacher, (Result(x, ()),), "Result", "tuples, lists and dicts")


def test_the_network_that_is_differentiated_grows_by_itself() -> None:
    teacher, x = Force().double(), torch.randn(5, 8).double()
    student = copy.deepcopy(teacher)
    student.energy = net2net.widen(teacher.energy, {"0": 13}, x).student
    other = torch.randn(5, 8).double()
    assert student.energy[0].out_features == 13
    assert float((student(other) - teacher(other)).abs().max()) <= 1e-10 * float(teacher(other).abs().max())
