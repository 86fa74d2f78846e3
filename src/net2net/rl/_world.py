"""What changes in the world of an agent: features of its observations, and its actions, as the spaces have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space

from net2net.errors import OptionError, SizeError, UnknownNameError, described
from net2net.surgeries import Features

# The name of an observation that is no dict of several.
ONE = ""


@dataclass(frozen=True)
class World:
    """The change: `Features` of each observation that changes (by key, or under `ONE`), and of the actions.

    Their axis counts from the end, so that it is the same in a batch, in a buffer and in statistics.
    """

    observations: Mapping[str, Features]
    actions: Features | None


def world_of(old: tuple[spaces.Space[Any], spaces.Space[Any]], new: Any, features: Any, outputs: Any) -> World:
    """What changes between an agent's spaces and those of a new environment.

    Args:
        old: the agent's observation space and action space.
        new: the environment.
        features, outputs: as for `grow`.

    Raises:
        SizeError: the spaces of the environment are not those that the features say.
        OptionError, UnknownNameError: what is said has no meaning here.
    """
    before, after = _by_key(old[0]), _by_key(new.observation_space)
    if set(before) != set(after):
        raise OptionError(
            f"the agent observes {_named(before)}, the environment gives {_named(after)}: the keys of observations "
            "stay as they are; put what is new into one that is there."
        )
    wanted = features if isinstance(features, Mapping) else {} if features is None else {ONE: features}
    unknown = [key for key in wanted if key not in before]
    if unknown:
        raise UnknownNameError(
            f"features= has {unknown[0] or 'no key'!r}, the agent observes {_named(before)}"
            + (": give a dict of these keys." if ONE not in before else ".")
        )
    observations = {}
    for key, space in before.items():
        what = f"the observation '{key}'" if key else "the observation"
        changed = _checked(wanted.get(key), _shape(space), _shape(after[key]), _is_image(space), what, "features=")
        if changed is not None and not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary)):
            raise OptionError(f"{what} is {space}; features of Box, Discrete and MultiBinary spaces can change.")
        if changed is not None:
            observations[key] = changed
    return World(observations, _actions(old[1], new.action_space, outputs))


def _actions(old: spaces.Space[Any], new: spaces.Space[Any], wanted: Any) -> Features | None:
    if wanted is None and old == new:
        return None
    if type(old) is not type(new) or not isinstance(old, (spaces.Discrete, spaces.Box)) or len(_shape(old)) != 1:
        raise OptionError(f"the actions are {old} and would be {new}; those of Discrete and flat Box spaces change.")
    changed = _checked(wanted, _shape(old), _shape(new), False, "the action", "outputs=")
    if isinstance(old, spaces.Box) and isinstance(new, spaces.Box):
        _require_ranges(old, new, changed)
    return changed


def _checked(
    wanted: Any, old: tuple[int, ...], new: tuple[int, ...], image: bool, what: str, where: str
) -> Features | None:
    """The features of one space, with their axis, if they are what becomes of it.

    Raises:
        SizeError: they are not.
    """
    if wanted is None:
        if old == new:
            return None
        raise SizeError(
            f"{what} has the shape {old} and would have {new}: say which places are which, "
            f"{where[:-1]}=net2net.Features(before, after), with names or numbers."
        )
    if not isinstance(wanted, Features):
        raise OptionError(f"{where} is given {described(wanted)}; give net2net.Features(before, after).")
    axis = -len(old) if image else wanted.axis - 1 - len(old) if wanted.axis > 0 else wanted.axis  # channels are first
    if not -len(old) <= axis <= -1:
        raise SizeError(f"{what} has the shape {old}, and no axis {wanted.axis} (0 is that of the batch).")
    features, shape = replace(wanted, axis=axis), list(old)
    shape[axis] = len(features.places(old[axis], what).source)
    if tuple(shape) != new:
        raise SizeError(f"{what} has the shape {new} in the environment, and {where} makes it {tuple(shape)}.")
    return features


def moved(array: npt.NDArray[Any], features: Features | None, numbers: bool, fill: float = 0.0) -> npt.NDArray[Any]:
    """Observations or actions of the old world as those of the new.

    Args:
        array: of any number of leading axes.
        features: what changes, if anything does.
        numbers: whether the entries are numbers of places, as of a Discrete space.
        fill: what stands in new places.
    """
    if features is None:
        return array
    if numbers:
        source = features.places(len(features.old), "it").source
        place = np.zeros(len(features.old), dtype=array.dtype)
        place[source[source >= 0]] = np.flatnonzero(source >= 0)
        return place[array.astype(np.int64)]
    axis = features.axis
    source = features.places(array.shape[axis], "it").source
    taken = np.take(array, np.where(source < 0, 0, source), axis=axis)
    new = (source < 0).reshape([-1] + [1] * (-axis - 1))
    return np.where(new, np.asarray(fill, array.dtype), taken)


def _require_ranges(old: spaces.Box, new: spaces.Box, features: Features | None) -> None:
    """Raise if an action that stays has another range: networks give actions as parts of it."""
    source = np.arange(old.shape[0]) if features is None else features.places(old.shape[0], "the action").source
    kept = source >= 0
    for one, other in ((old.low, new.low), (old.high, new.high)):
        odd = np.flatnonzero(one[source[kept]] != other[kept])
        if len(odd):
            place = int(source[kept][odd[0]])
            raise OptionError(
                f"action {place} goes from {old.low[place]:g} to {old.high[place]:g} and would have another range: the "
                "same output would be another action. Keep its range."
            )


def _by_key(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {ONE: space}


def _named(keys: Mapping[str, Any]) -> str:
    return "no dict" if ONE in keys else ", ".join(map(repr, keys))


def _shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    """The shape of one observation or action as a network gets or gives it."""
    if isinstance(space, spaces.Box) and space.shape is not None:
        return tuple(space.shape)
    return (get_flattened_obs_dim(space),)


def _is_image(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and is_image_space(space)
