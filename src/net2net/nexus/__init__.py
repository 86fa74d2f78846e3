"""Growable projections: plain torch layers whose inner sizes grow; the stream, the heads and the cache stay."""

from net2net.nexus._attention import NexusAttention
from net2net.nexus._linear import NexusLinear
from net2net.nexus._model import NexusBlock, NexusConfig, NexusLM
from net2net.nexus._pattention import Pattention

__all__ = ["NexusAttention", "NexusBlock", "NexusConfig", "NexusLM", "NexusLinear", "Pattention"]
