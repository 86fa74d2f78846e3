"""Scaled dot-product attention."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import lock, unflatten, unify
from net2net.capture import Node


@rule("aten.scaled_dot_product_attention", flow=Flow.CONTRACT)
def scaled_dot_product_attention(inference: Inference, node: Node) -> list[Axes]:
    """Queries (..., H, L, E), keys (..., K, S, E), values (..., K, S, V); with grouped queries H = K x repetitions."""
    query, key, value = (inference.of(node[name]) for name in ("query", "key", "value"))
    rank = len(query)
    inference.contract(node, (node["query"], rank - 1), (node["key"], rank - 1))
    unify(key[-2], value[-2], node.where)
    lock(key[-2], f"a softmax over it ({node.where})")
    heads = inference.broadcast(node, [key[:-2], value[:-2]])
    if node.get("enable_gqa") and node["query"].shape[-3] != node["key"].shape[-3]:
        kv_heads = node["key"].shape[-3]
        group, _ = unflatten(query[-3], [kv_heads, node["query"].shape[-3] // kv_heads], node.where)
        unify(group, heads[-1], node.where)
        batch = inference.broadcast(node, [query[:-3], heads[:-1]])
        leading: Axes = (*batch, query[-3])
    else:
        leading = inference.broadcast(node, [query[:-2], heads])
    if node.get("attn_mask") is not None:
        inference.broadcast(node, [(*leading, query[-2], key[-2]), inference.of(node["attn_mask"])])
    return [(*leading, query[-2], value[-1])]
