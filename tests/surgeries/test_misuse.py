"""What can't be done is refused by name; what people do wrong is said before any work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import Features as F
from policies import Recurrent, drawn, made

pytestmark = pytest.mark.filterwarnings("error")
X = drawn(5, 3)


def mlp() -> nn.Module:
    return made(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", "a"], 2), "'a' stands twice"),
        ((2, ["a", "b", "a"]), "'a' stands twice"),
        (("ab", 3), "features are 'ab'"),
        ((0, 3), "features are 0"),
        ((True, 3), "features are True"),
        (([], 3), "no features"),
        ((2, 3, {}, "sometimes"), "start='sometimes' is not known"),
        ((2, 3, {}, float("nan")), "start=nan"),
        ((2, 3, {}, "copy:9"), "start= names '9'"),
        ((2, 3, {"z": 0.0}), "constants= names 'z'"),
        ((2, 3, {"1": float("inf")}), "constants"),
        ((2, 3, {}, None, -1, 0), "frames=0"),
        ((2, 3, {}, None, -1, 1, {"1": (0.0, 1.0)}), "'1', which is no new feature"),
        ((2, 3, {}, None, -1, 1, {"2": (0.0, 0.0)}), "its mean and its variance, above 0"),
        ((2, 3, {}, None, -1, 1, {"2": 3.0}), "its mean and its variance"),
    ],
)
def test_features_that_make_no_sense(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(net2net.GrowthError, match=message):
        F(*arguments)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "needs features="),
        ({"features": {"obs": F(3, 4)}}, "nothing is called 'obs' there; there are 'input'"),
        ({"features": {1: F(3, 4)}}, "nothing is called 1"),
        ({"outputs": {"logits": F(2, 3)}}, "nothing is called 'logits' there; there are 'output'"),
        ({"features": {0: F(4, 5)}}, "has 3 places along axis -1; 4 features"),
        ({"features": {0: F(3, 4, frames=2)}}, "3 features x 2 frames"),
        ({"features": {0: F(3, 3)}}, "nothing would change"),
        ({"features": {0: F(3, 4, axis=2)}}, "has 2 axes, and no axis 2"),
        ({"features": {0: F(5, 6, axis=0)}}, "no features along axis 0"),
        ({"features": {0: F(3, 4), "input": F(3, 4)}}, "'input' is asked for twice"),
        ({"features": {0: F(3, 4, statistics={"3": (0.0, 2.0)})}}, "no running normaliser"),
        ({"features": {0: 4}}, r"0 is given 4 \(int\); give net2net.Features"),
        ({"features": {0: F(3, 4)}, "how": "split"}, "how goes with sizes="),
    ],
)
def test_requests_that_make_no_sense(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(net2net.GrowthError, match=message):
        net2net.surgery(mlp(), X, **request_)


class Wrapped(nn.Module):
    """A layer, with something done to its input or its output."""

    def __init__(self, before: Any = None, after: Any = None, norm: bool = False) -> None:
        super().__init__()
        self.layer, self.before, self.after = nn.Linear(3, 4), before, after
        self.norm = nn.LayerNorm(3) if norm else nn.Identity()

    def forward(self, obs: Tensor) -> Tensor:
        y = self.layer(self.norm(self.before(obs) if self.before else obs))
        return self.after(y) if self.after else y


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Wrapped(norm=True), r"aten\.layer_norm in 'norm' takes a mean over all of them"),
        (Wrapped(before=lambda x: x.softmax(-1)), r"aten\.softmax"),
        (Wrapped(before=lambda x: x / x.norm(dim=-1, keepdim=True)), "can't have new places"),
        (Wrapped(before=lambda x: x - x.mean(-1, keepdim=True)), "can't have new places"),
        (Wrapped(before=lambda x: x.flip(-1)), "can't change"),
        (Wrapped(before=lambda x: torch.cat([x[:, :1] * 2, x[:, 1:]], -1)[:, [2, 0, 1]]), "can't change"),
    ],
)
def test_inputs_whose_features_are_mixed(network: nn.Module, message: str) -> None:
    with pytest.raises(net2net.FixedDimensionError, match=message):
        net2net.surgery(made(network), X, features={"obs": F(list("abc"), list("abnc"))})


@pytest.mark.parametrize("after", [lambda y: y.softmax(-1), lambda y: y.sort(-1)[0], lambda y: y - y.mean(-1)[:, None]])
def test_outputs_whose_entries_are_mixed(after: Any) -> None:
    with pytest.raises(net2net.GrowthError):
        net2net.surgery(made(Wrapped(after=after)), X, outputs={0: F(4, 5, start="never")})


def test_a_temperature_that_raises_never_is_seen() -> None:
    network = made(Wrapped(after=lambda y: y / 30))
    with pytest.raises(net2net.OptionError, match="of the probability: something between"):
        net2net.surgery(network, X, outputs={0: F(4, 5, start="never")})
    assert net2net.surgery(network, X, outputs={0: F(4, 5, start=-900.0)}).verification.passed


def test_an_input_that_is_an_output_changes_as_both() -> None:
    network = made(Wrapped(after=lambda y: y))
    network.forward = lambda obs: obs + network.layer(obs)[:, :3]  # type: ignore[method-assign]
    with pytest.raises(net2net.FixedDimensionError, match=r"the output 'output'.*in outputs="):
        net2net.surgery(network, X, features={"obs": F(3, 4)})


def test_slices_at_places_of_the_forward() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Linear(2, 4), nn.Linear(3, 4)

        def forward(self, obs: Tensor) -> Tensor:
            return self.near(obs[:, :2]) * self.far(obs[:, 2:])

    teacher, x = made(Cut()), drawn(4, 5)
    student = net2net.surgery(teacher, x, features={0: F(list("abcde"), list("abncde"))}).student
    y = drawn(4, 6, seed=3)
    assert (teacher(y[:, [0, 1, 3, 4, 5]]) - student(y)).abs().max() < 1e-12
    with pytest.raises(net2net.CouplingError, match="written into its forward"):
        net2net.surgery(teacher, x, features={0: F(list("abcde"), list("nabcde"))})
    with pytest.raises(net2net.FixedDimensionError, match="would be mixed with another part"):
        net2net.surgery(teacher, x, features={0: F(list("abcde"), list("acbden"))})


def test_the_state_of_a_core_is_no_feature_of_its_own() -> None:
    teacher, state = made(Recurrent()), (drawn(1, 2, 5), drawn(1, 2, 5))
    with pytest.raises(net2net.FixedDimensionError, match="If that one changes along"):
        net2net.surgery(teacher, (drawn(2, 6, 3), state), features={"state.0": F(5, 6)})


def test_a_core_under_a_layer_norm_has_no_silent_units() -> None:
    class Core(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.norm, self.head = nn.GRU(3, 5), nn.LayerNorm(5), nn.Linear(5, 2)

        def forward(self, obs: Tensor, h: Tensor) -> dict[str, Tensor]:
            out, h = self.core(obs, h)
            return {"logits": self.head(self.norm(out)), "h": h}

    with pytest.raises(net2net.FixedDimensionError, match=r"aten\.layer_norm in 'norm'"):
        net2net.surgery(made(Core()), (drawn(6, 2, 3), drawn(1, 2, 5)), features={"h": F(5, 8)}, outputs={"h": F(5, 8)})
