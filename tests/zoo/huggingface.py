"""The transformers families of the zoo, and what is known of them."""

from __future__ import annotations

import importlib.util

from zoo.model import ZooModel

# The families that every test run covers; the sweep covers all.
FAMILIES = {
    "llama", "llama_tied", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gpt2", "gpt_neo", "gpt_neox",
    "gptj", "opt", "phi", "phi3", "falcon_grouped", "bloom", "mpt", "olmo", "olmo2", "stablelm", "cohere",
    "granite", "codegen", "persimmon", "bert", "roberta", "deberta", "electra", "albert", "distilbert",
    "modernbert", "mpnet", "t5", "t5_gated", "bart", "pegasus", "whisper", "vit", "deit", "swin", "convnext",
    "resnet", "dinov2", "clip",
}  # fmt: skip

# Families that can't be doubled as a whole, with a part of the reason that the refusal gives.
REFUSED = {
    "mobilebert": "averages over an axis",
    "dinov2_swiglu": "can't be constructed",
    "regnet": "can't be constructed",
    "mobilevitv2": "can't be constructed",
    "segformer": "segformer",
    "segformer_segmentation": "segformer",
    "pvt": "can't be constructed",
    "levit": "can't be constructed",
}


def huggingface_models() -> list[ZooModel]:
    """Every family, or none where transformers is not installed."""
    return [model for group in huggingface_groups().values() for model in group]


def huggingface_groups() -> dict[str, list[ZooModel]]:
    """The families by what they are for."""
    if importlib.util.find_spec("transformers") is None:
        return {}
    from zoo import huggingface_causal, huggingface_masked, huggingface_seq2seq, huggingface_vision

    return {
        "Decoders": huggingface_causal.MODELS,
        "Encoders": huggingface_masked.MODELS,
        "Encoder-decoders": huggingface_seq2seq.MODELS,
        "Vision": huggingface_vision.MODELS,
    }
