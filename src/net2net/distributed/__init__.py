"""The same plan on sharded models: each rank makes its own part."""

from net2net.distributed._dcp import DCPGrowth, grow_dcp
from net2net.distributed._grow import ShardedGrowth, grow

__all__ = ["DCPGrowth", "ShardedGrowth", "grow", "grow_dcp"]
