"""The lists of layers of a model without weights, and a shallow model with one layer of each kind.

Repeated layers are alike, so it is enough to analyse one of each kind: planning takes the same time at any depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from net2net.errors import CheckpointError
from net2net.pretrained import Changes, Search, bare_model, lengths, per_layer, sequences


@dataclass(frozen=True)
class Layers:
    """A list of layers: its path, the kind of each layer (layers of one kind differ in their index only), the names of
    the tensors of each, and its settings but for whole numbers, which may be sizes."""

    path: str
    kinds: tuple[int, ...]
    tensors: tuple[frozenset[str], ...]
    settings: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def needed(self) -> int:
        """How many layers from the first one hold one of each kind before the last, and end as the list does.

        The last layer may be planned otherwise: what follows it is no further layer.
        """
        for count in range(2, len(self)):
            if set(self.kinds[: count - 1]) == set(self.kinds) and self.kinds[count - 1] == self.kinds[-1]:
                return count
        return max(2, *(self.kinds.index(kind) + 1 for kind in set(self.kinds)))

    @property
    def placed(self) -> set[str]:
        """The settings that aren't the same for all layers: their class has them from the place of a layer."""
        every = {name for own in self.settings for name in own}
        return {name for name in every if len({own.get(name) for own in self.settings}) > 1}

    def template(self, source: int, is_last: bool) -> int:
        """Which of the needed layers stands for one that is, or copies, the layer `source` of the teacher."""
        kind, last = self.kinds[source], min(self.needed, len(self)) - 1
        return last if is_last and self.kinds[last] == kind else self.kinds.index(kind)


def lists_of_layers(model: nn.Module) -> list[Layers]:
    """The outermost lists of layers of a model."""
    found: list[Layers] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{layers.path}.") for layers in found)
        if isinstance(module, nn.ModuleList) and len(module) > 1 and not inside:
            kinds = _kinds(list(module))
            if len(set(map(type, module))) == 1 or len(set(kinds)) < len(kinds):
                tensors = tuple(frozenset(layer.state_dict()) for layer in module)
                found.append(Layers(path, kinds, tensors, tuple(map(_told, module))))
    return found


def _kinds(layers: list[nn.Module]) -> tuple[int, ...]:
    """The kind of each layer: its class, its tensors, and its settings."""
    settings = [dict(_plain(layer)) for layer in layers]
    indices = {name for name in settings[0] if all(s.get(name) == i for i, s in enumerate(settings))}
    seen: dict[object, int] = {}
    kinds = []
    for layer, own in zip(layers, settings, strict=True):
        tensors = tuple((name, tuple(tensor.shape)) for name, tensor in layer.state_dict().items())
        rest = tuple(sorted((n, repr(v)) for n, v in own.items() if n not in indices))
        kinds.append(seen.setdefault((type(layer), tensors, rest), len(seen)))
    return tuple(kinds)


def _plain(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    """The settings of a layer and of the modules in it, but for drop rates."""
    for path, module in layer.named_modules():
        for name, value in vars(module).items():
            plain = isinstance(value, (bool, int, float, str)) and not name.startswith("_")
            if plain and name != "training" and "drop" not in name:
                yield f"{path}.{name}", value


def _told(layer: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in _plain(layer) if isinstance(value, (bool, float, str))}


def shallow(model: nn.Module, config: Any, lists: list[Layers], like: Any = None) -> nn.Module:
    """A model with only the needed layers of each list.

    Args:
        model: the whole model, without weights.
        config: its config.
        lists: its lists of layers, or those of the teacher that it is a deeper version of.
        like: a config whose per-layer lists begin with the entries that the shallow model's lists shall have.

    Raises:
        CheckpointError: no config gives it; then the whole model has to do.
    """
    counts = _lengths(model)
    wanted = {layers.path: layers.needed for layers in lists if layers.needed < counts[layers.path]}
    for layers in lists:
        if layers.path not in wanted:
            continue
        config = _shorter(model, config, layers, wanted, like or config)
    return bare_model(type(model), config)


def _shorter(model: nn.Module, config: Any, layers: Layers, wanted: dict[str, int], like: Any) -> Any:
    count, needed = len(list(model.get_submodule(layers.path).children())), layers.needed
    own = per_layer(config, count)
    lists: Changes = {key: items[:needed] for key, items in sequences(like) if key in own}
    others = {p: n for p, n in _lengths(model).items() if not _related(p, wanted)}
    search = Search(model, "none of its numbers is that", config)
    for changes in lengths(config, count, needed, lists):
        found = search.constructed(changes)
        if found is not None:
            theirs = _lengths(found)
            if theirs.get(layers.path) == needed and all(theirs.get(p) == n for p, n in others.items()):
                return found.config
    raise CheckpointError(
        f"no config of {type(model).__name__} has {needed} instead of {count} of '{layers.path}': {search.reason}."
    )


def _related(path: str, wanted: dict[str, int]) -> bool:
    return any(path == p or path.startswith(p + ".") for p in wanted)


def _lengths(model: nn.Module) -> dict[str, int]:
    return {path: len(m) for path, m in model.named_modules() if isinstance(m, nn.ModuleList)}


def depends_on_depth(model: nn.Module, other: nn.Module, lists: list[Layers]) -> str | None:
    """A setting of a layer that is another one in a model with fewer layers, if there is one."""
    for layers in lists:
        for index in range(min(layers.needed, len(layers))):
            path = f"{layers.path}.{index}"
            mine, theirs = (dict(_plain(m.get_submodule(path))) for m in (model, other))
            for name, value in mine.items():
                if theirs.get(name, value) != value:
                    return f"{path}{name}"
    return None


def different_numbers(layer: nn.Module, other: nn.Module) -> set[str]:
    """Names of the floating-point settings in which two layers differ."""
    mine, theirs = dict(_plain(layer)), dict(_plain(other))
    return {n for n, v in mine.items() if isinstance(v, float) and theirs.get(n, v) != v}
