"""Checkpoints of Hugging Face models, of any size: planned without weights, streamed, verified from the files."""

from net2net.errors import NeedsMemory
from net2net.huggingface._beside import EXTRA_FILES, PLAN_FILE, CheckpointGrowth
from net2net.huggingface._config import new_config, words
from net2net.huggingface._folder import Folder, open_config, open_folder
from net2net.huggingface._grow import grow_checkpoint
from net2net.huggingface._hub import local_folder
from net2net.huggingface._inputs import from_config
from net2net.huggingface._save import save_growth
from net2net.huggingface._surgery import surgery_checkpoint
from net2net.huggingface._upcycle import upcycle_checkpoint
from net2net.huggingface._verify import FLOAT64_BYTES, verify_checkpoints

__all__ = [
    "EXTRA_FILES",
    "FLOAT64_BYTES",
    "PLAN_FILE",
    "CheckpointGrowth",
    "Folder",
    "NeedsMemory",
    "from_config",
    "grow_checkpoint",
    "local_folder",
    "new_config",
    "open_config",
    "open_folder",
    "save_growth",
    "surgery_checkpoint",
    "upcycle_checkpoint",
    "verify_checkpoints",
    "words",
]
