"""The model zoo: architectures in the usual styles, small enough to be grown and compared in a test."""

from __future__ import annotations

from zoo import attention, convnets, mobile, plain, recurrent, resnets
from zoo.model import ZooModel

TORCH_MODELS: list[ZooModel] = [
    *plain.MODELS,
    *convnets.MODELS,
    *resnets.MODELS,
    *mobile.MODELS,
    *attention.MODELS,
    *recurrent.MODELS,
]
