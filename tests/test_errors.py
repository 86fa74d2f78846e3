"""Every refusal names what it is about and says what would work."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import errors
from net2net.width import NoiseSpec
from support import X, from_zoo, mlp, name_at, refused, trained


def test_every_refusal_is_a_growth_error() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]
    for error in classes:
        assert issubclass(error, (net2net.GrowthError, Warning)), error
        assert inspect.getdoc(error)


def test_every_refusal_can_be_told_with_more_words_before_it() -> None:
    """Schedules and chains say which step or model a refusal is about: of the same class, made of a text."""

    def below(error: type[Exception]) -> list[type[Exception]]:
        return [error, *(c for one in error.__subclasses__() for c in below(one))]

    for error in below(net2net.GrowthError):
        assert str(error("after step 3: no")) == "after step 3: no"


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 8)
        self.decoder = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.relu(self.encoder(x)))


@pytest.mark.parametrize("key", ["encodr", "encoder.weight", "Encoder"])
def test_an_unknown_name_suggests_the_nearest(key: str) -> None:
    message = refused(
        net2net.UnknownNameError,
        lambda: net2net.widen(trained(Named()), {key: 12}, X),
        f"'{key}'",
        "'encoder'",
    )
    assert message.count("'encoder'") == 1  # a suggestion is made once


def test_a_name_like_no_other_points_to_the_list() -> None:
    refused(
        net2net.UnknownNameError,
        lambda: net2net.widen(mlp(), {"qqqqqq": 12}, X),
        "'qqqqqq'",
        "net2net.analyze",
    )


def test_a_smaller_size() -> None:
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), {"0": 5}, X), "'0'", "8", "5", "smaller")


def test_a_factor_below_one() -> None:
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), 0.5, X), "'0'", "smaller")


@pytest.mark.parametrize("sizes", [{"0": 8}, {"0": 1.0}, {"0": "1x"}, 1.0, {}])
def test_sizes_that_are_there_already(sizes: Any) -> None:
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), sizes, X), "nothing would grow")


@pytest.mark.parametrize("size", ["big", "x", None, -2.0, float("nan"), float("inf"), True, [12]])
def test_what_is_no_size(size: Any) -> None:
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), {"0": size}, X), "'0'", repr(size), "'2x'")


@pytest.mark.parametrize("request_", [2, True])
def test_a_bare_int_is_no_factor(request_: Any) -> None:
    message = refused(net2net.OptionError, lambda: net2net.widen(mlp(), request_, X), "factor")
    assert "Truex" not in message


def test_two_keys_that_disagree() -> None:
    refused(net2net.OptionError, lambda: net2net.widen(mlp(), {"0": 12, "[0]": 16}, X), "'[0]'", "12", "16", "'0'")


def test_a_size_that_a_norm_forbids_names_the_nearest() -> None:
    teacher, x = from_zoo("transformer_encoder_postnorm")
    stream = name_at(teacher, x, "fc.weight", 1)
    refused(net2net.SizeError, lambda: net2net.widen(teacher, {stream: 60}, x), stream, "layer_norm", "48", "72")


def test_a_normalised_stream_cannot_be_copied_to_just_any_size() -> None:
    teacher, x = from_zoo("mlp_layernorm_residual")
    stream = name_at(teacher, x, "stem.weight")
    refused(
        net2net.SizeError,
        lambda: net2net.widen(teacher, {stream: 33}, x, how="split"),
        stream,
        "blocks.0.norm",
        "28 or 42",
    )


def test_a_fixed_dimension_gives_its_reason() -> None:
    refused(net2net.FixedDimensionError, lambda: net2net.widen(mlp(), {"4": 4}, X), "'4'", "output")


def test_nothing_that_can_grow() -> None:
    only = trained(nn.Linear(4, 2))
    refused(net2net.FixedDimensionError, lambda: net2net.widen(only, 2.0, X), "no dimension", "output")
    refused(net2net.FixedDimensionError, lambda: net2net.widen(nn.ReLU(), 2.0, X), "no dimension", "no weights")


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


def test_a_model_that_does_not_export_says_why_and_the_way_out() -> None:
    refused(
        net2net.CaptureError,
        lambda: net2net.analyze(trained(Branching()), X),
        "Branching",
        "data-dependent",
        "torch.where",
        "torch.cond",
    )


def test_inputs_that_the_model_does_not_take() -> None:
    refused(net2net.CaptureError, lambda: net2net.analyze(mlp(), X[:, :3]), "Sequential", "example inputs")
    refused(net2net.CaptureError, lambda: net2net.analyze(mlp(), "text"), "str", "a tuple", "a dict")  # type: ignore[arg-type]


def test_a_model_that_does_not_copy() -> None:
    class Stubborn:
        def __reduce_ex__(self, protocol: object) -> str:
            raise TypeError("it is one of a kind")

    model = mlp()
    model.stream = [Stubborn()]
    refused(
        net2net.CaptureError,
        lambda: net2net.widen(model, {"0": 12}, X),
        "Sequential",
        "can't be copied",
        "'stream[0]'",
        "it is one of a kind",
    )


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"how": "clone"}, ("how='clone'", "split", "zero_out", "pair", "random_pad")),
        ({"shares": "odd"}, ("shares='odd'", "uneven", "even")),
        ({"noise": "gauss"}, ("noise='gauss'", "zero_sum", "paper")),
        ({"noise": NoiseSpec("zero_sum", -1.0)}, ("zero_sum", "-1.0")),
        ({"noise": NoiseSpec("paper", float("nan"))}, ("paper", "nan")),
        ({"noise": 0.1}, ("noise=0.1",)),
        ({"how": ["split"]}, ("how=['split']",)),
        ({"seed": "zero"}, ("seed='zero'",)),
        ({"seed": -1}, ("seed=-1",)),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], parts: tuple[str, ...]) -> None:
    refused(net2net.OptionError, lambda: net2net.widen(mlp(), {"0": 12}, X, **options), *parts)
    student = trained(nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 2)))
    refused(net2net.OptionError, lambda: net2net.transfer(mlp(), student, X, **options), *parts)


class Distances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.head = self.Centres()

    class Centres(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centres = nn.Parameter(torch.randn(5, 8))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(x, self.centres)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


def test_an_operation_that_mixes_is_named_with_its_module() -> None:
    teacher = trained(Distances())
    name = name_at(teacher, X, "embed.weight")
    refused(
        net2net.FixedDimensionError,
        lambda: net2net.widen(teacher, {name: 12}, X),
        name,
        "aten.cdist",
        "'head'",
        "distances",
    )


@torch.library.custom_op("net2net_tests::mixed", mutates_args=())
def mixed(x: Tensor) -> Tensor:
    return x.flip(-1).cumsum(-1)


@mixed.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(mixed(self.first(x)))))


def test_a_custom_operation_locks_only_what_it_touches() -> None:
    teacher = trained(Custom())
    name = name_at(teacher, X, "first.weight")
    refused(
        net2net.FixedDimensionError,
        lambda: net2net.widen(teacher, {name: 12}, X),
        name,
        "net2net_tests.mixed",
        "rule",
    )
    assert net2net.widen(teacher, {"second": 9}, X).verification.max_relative_error < 1e-12


class Table(nn.Module):
    """Gives a matrix that is made of parameters on both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ self.columns * x.mean()


def test_a_module_path_with_several_widths_asks_for_a_dimension() -> None:
    layers = [Table(), nn.ReLU(), nn.Linear(5, 7), nn.Flatten(0), nn.ReLU(), nn.Linear(42, 2)]
    model = trained(nn.Sequential(*layers))
    message = refused(net2net.UnknownNameError, lambda: net2net.widen(model, {"1": 12}, X), "'1'", "2 widths")
    for tensor, axis in (("0.rows", 0), ("0.columns", 1)):
        assert repr(name_at(model, X, tensor, axis)) in message


def test_a_module_path_with_no_width() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.first, self.last = nn.AdaptiveAvgPool1d(1), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x)) * self.mean(x))

    refused(
        net2net.UnknownNameError,
        lambda: net2net.widen(trained(Scaled()), {"mean": 3}, X),
        "'mean'",
        "no width",
        "'first'",
    )


def test_sizes_that_a_class_ties_together() -> None:
    teacher, x = from_zoo("gpt")
    stream = name_at(teacher, x, "lm_head.weight", 1)
    refused(
        net2net.CouplingError,
        lambda: net2net.widen(teacher, {stream: 48}, x),
        "GPT",
        "24 -> 48",
        "same",
        "net2net.transfer",
    )


def test_a_teacher_without_weights() -> None:
    refused(net2net.GrowthError, lambda: net2net.widen(mlp().to("meta"), {"0": 12}, X), "meta")


def test_what_failed_verification_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("net2net.operators._widen.grow_state", _wrong)
    refused(
        net2net.VerificationError,
        lambda: net2net.widen(mlp(), {"0": 12}, X),
        "relative error",
        "'2'",
        "not returned",
    )


def _wrong(plan: net2net.Plan, state: dict[str, Tensor], initial: Any = None) -> dict[str, Tensor]:
    from net2net.apply import grow_state

    grown = grow_state(plan, state, initial)
    grown["2.weight"] = grown["2.weight"] * 1.01
    return grown
