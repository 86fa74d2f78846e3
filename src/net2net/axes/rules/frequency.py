"""Fourier transforms: every frequency comes from all places of the axis, the other axes pass."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import lock
from net2net.capture import Node

_ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
_MANY = tuple(name + end for name in _ONE for end in ("2", "n"))


@rule(*(f"aten.fft_{name}" for name in (*_ONE, *_MANY)), flow=Flow.PASS)
def transform(inference: Inference, node: Node) -> list[Axes]:
    """Linear along the axes that are transformed."""
    axes = list(inference.of(node["self"]))
    dims = node.get("dim")
    if dims is None:
        count = len(node.get("s") or axes)
        dims = range(len(axes) - count, len(axes))
    for dim in [dims] if isinstance(dims, int) else dims:
        lock(axes[dim], f"a Fourier transform along it ({node.where})")
        (axes[dim],) = inference.fixed(node, [node.output.shape[dim]], "frequencies")
    return [tuple(axes)]


@rule("aten.fft_fftshift", "aten.fft_ifftshift", flow=Flow.PASS)
def shift(inference: Inference, node: Node) -> list[Axes]:
    """Frequencies change their order."""
    dims = node.get("dim")
    inference.lock_axes(node["self"], node, "its places change their order", [dims] if isinstance(dims, int) else dims)
    return [inference.of(node["self"])]


@rule("aten.view_as_complex", flow=Flow.PASS)
def as_complex(inference: Inference, node: Node) -> list[Axes]:
    """The last axis holds real and imaginary parts."""
    return [inference.of(node["self"])[:-1]]


@rule("aten.view_as_real", flow=Flow.PASS)
def as_real(inference: Inference, node: Node) -> list[Axes]:
    """A last axis of real and imaginary parts."""
    return [(*inference.of(node["self"]), *inference.fixed(node, [2], "real and imaginary parts"))]
