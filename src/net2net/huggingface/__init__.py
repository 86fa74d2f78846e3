"""Checkpoints of Hugging Face models, of any size: planned without weights, streamed, verified from the files."""

from net2net.huggingface._beside import EXTRA_FILES, CheckpointGrowth
from net2net.huggingface._depth import NeedsMemory
from net2net.huggingface._folder import Folder, open_folder
from net2net.huggingface._grow import grow_checkpoint
from net2net.huggingface._verify import FLOAT64_BYTES, verify_checkpoints

__all__ = [
    "EXTRA_FILES",
    "FLOAT64_BYTES",
    "CheckpointGrowth",
    "Folder",
    "NeedsMemory",
    "grow_checkpoint",
    "open_folder",
    "verify_checkpoints",
]
