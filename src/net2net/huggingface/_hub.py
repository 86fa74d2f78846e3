"""A model by its name on the Hugging Face hub, as a folder."""

from __future__ import annotations

import re
from pathlib import Path

from net2net.errors import CheckpointError
from net2net.huggingface._beside import EXTRA_FILES

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_CONFIG = ["config.json"]
_TEXTS = ["README.md", "LICENSE*", "NOTICE*", "*.txt", "*.json"]
_ALL = ["*.safetensors", *_TEXTS, *EXTRA_FILES]


def local_folder(source: str | Path, weights: bool = True) -> Path:
    """The folder that a source is, or into whose cache a model of the hub was downloaded.

    Args:
        source: a folder, or a name such as "HuggingFaceTB/SmolLM2-135M" where there is no such folder. What is in the
            hub's cache is not downloaded again.
        weights: whether they are needed; without, only config.json is downloaded.

    Raises:
        CheckpointError: it is neither.
    """
    if not isinstance(source, str) or not _NAME.fullmatch(source) or Path(source).exists():
        return Path(source)
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source, allow_patterns=_CONFIG + (_ALL if weights else [])))
    except Exception as error:  # no such model, no network, no permission, no such package
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"there is no folder {source}, and the hub doesn't give such a model: {reason}"
        ) from error
