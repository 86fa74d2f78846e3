"""The sizes that torch's own layers keep as attributes, read off their new tensors."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from net2net.axes import Term, size, unflatten
from net2net.capture import Node
from net2net.student._sizes import NewSizes

_UPDATED = (
    nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, _ConvNd, _NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm,
    nn.PReLU, nn.RNNBase, nn.RNNCellBase,
)  # fmt: skip
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def is_updated(module: nn.Module) -> bool:
    """Whether `update_layer` knows every size that a module keeps."""
    return isinstance(module, _UPDATED)


def update_layer(module: nn.Module, node: Node | None, sizes: NewSizes) -> None:
    """Set the sizes of a standard layer whose tensors are already the student's.

    `node` is the teacher's operation of this layer, if it is in the graph: groups can only be read there.
    """
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = _shape(module)
    elif isinstance(module, nn.Bilinear):
        module.out_features, module.in1_features, module.in2_features = module.weight.shape
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, _ConvNd):
        _update_convolution(module, node, sizes)
    elif isinstance(module, _NormBase):
        if node is not None:
            module.num_features = sizes.of(sizes.inference.of(node["input"])[1])
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        if node is not None:
            axes = sizes.inference.of(node["input"])[-len(module.normalized_shape) :]
            module.normalized_shape = tuple(map(sizes.of, axes))
    elif isinstance(module, nn.GroupNorm):
        if node is not None:
            channels = sizes.inference.of(node["input"])[1]
            module.num_channels, module.num_groups = (
                sizes.of(channels),
                groups_of(channels, node["num_groups"], sizes),
            )
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]
    elif isinstance(module, nn.RNNBase):
        rows, module.input_size = module.get_parameter("weight_ih_l0").shape
        module.hidden_size = rows // _GATES[module.mode]
        if module.proj_size:
            module.proj_size = module.get_parameter("weight_hr_l0").shape[0]
        module._flat_weights = [getattr(module, n) for n in module._flat_weights_names]
    elif isinstance(module, nn.RNNCellBase):
        module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
    elif isinstance(module, nn.MultiheadAttention):
        _update_attention(module)


def _shape(layer: nn.Linear | _ConvNd) -> torch.Size:
    """The shape of a layer's weight; of what it is computed from where a hook keeps it, which has the old one still."""
    if "weight" not in vars(layer):
        return layer.weight.shape
    return max((p for p in layer._parameters.values() if p is not None), key=lambda p: (p.dim(), p.numel())).shape


def _update_attention(module: nn.MultiheadAttention) -> None:
    """The number of heads can't be read off the weights."""
    module.embed_dim = module.kdim = module.vdim = module.out_proj.weight.shape[0]
    if not module._qkv_same_embed_dim:
        module.kdim, module.vdim = module.k_proj_weight.shape[1], module.v_proj_weight.shape[1]
    module.head_dim = module.embed_dim // module.num_heads


def _update_convolution(module: _ConvNd, node: Node | None, sizes: NewSizes) -> None:
    if node is not None and node["groups"] > 1:
        x = node["input"]
        channels = sizes.inference.of(x)[len(x.shape) - len(_shape(module)) + 1]
        module.groups = groups_of(channels, node["groups"], sizes)
    first, second = _shape(module)[:2]
    if isinstance(module, _ConvTransposeNd):
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.out_channels, module.in_channels = first, second * module.groups


def groups_of(channels: Term, groups: int, sizes: NewSizes) -> int:
    """The student's number of groups: the outer factor of the channels, which the teacher has `groups` of."""
    return sizes.of(unflatten(channels, [groups, size(channels) // groups], "")[0])
