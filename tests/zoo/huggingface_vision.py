"""Image classifiers of transformers, and a model that matches images with texts."""

from __future__ import annotations

from zoo.huggingface_build import Entry, Inputs, Settings, noise, tokens, zoo

LENGTH = 7

# All sizes differ where they can, so that a wrong coupling of two dimensions shows as a mismatch of shapes.
VIT: Settings = {
    "num_labels": 5,
    "image_size": 24,
    "patch_size": 8,
    "hidden_size": 20,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}

SMALL: Settings = {"num_labels": 5, "image_size": 32}

# Attention after several halvings needs more pixels, to be left with more than one place to attend to.
MEDIUM: Settings = {**SMALL, "image_size": 64}

SWIN: Settings = {
    **SMALL,
    "patch_size": 4,
    "embed_dim": 12,
    "depths": [2, 2],
    "num_heads": [2, 3],
    "window_size": 4,
}

# Four stages, each at half the resolution of the one before.
STAGES: Settings = {**SMALL, "depths": [1, 2, 1, 1], "hidden_sizes": [8, 12, 20, 28]}

PYRAMID: Settings = {
    **STAGES,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 4, 4],
    "mlp_ratios": [2, 3, 2, 2],
}

ENTRIES: list[Entry] = [
    ("vit", "ViTForImageClassification", VIT),
    ("deit", "DeiTForImageClassification", VIT),
    ("beit", "BeitForImageClassification", {**VIT, "use_relative_position_bias": True}),
    ("dinov2", "Dinov2ForImageClassification", {**VIT, "mlp_ratio": 2}),
    ("dinov2_swiglu", "Dinov2ForImageClassification", {**VIT, "mlp_ratio": 2, "use_swiglu_ffn": True}),
    ("dinov2_with_registers", "Dinov2WithRegistersForImageClassification", {**VIT, "mlp_ratio": 2}),
    ("swin", "SwinForImageClassification", SWIN),
    ("swinv2", "Swinv2ForImageClassification", SWIN),
    ("convnext", "ConvNextForImageClassification", STAGES),
    ("convnextv2", "ConvNextV2ForImageClassification", STAGES),
    (
        "resnet",
        "ResNetForImageClassification",
        {**STAGES, "embedding_size": 10, "hidden_sizes": [8, 16, 24, 32]},
    ),
    ("resnet_basic", "ResNetForImageClassification", {**STAGES, "embedding_size": 10, "layer_type": "basic"}),
    (
        "regnet",
        "RegNetForImageClassification",
        {**STAGES, "embedding_size": 10, "groups_width": 4},
    ),
    ("mobilenet_v1", "MobileNetV1ForImageClassification", {**SMALL, "depth_multiplier": 0.25}),
    ("mobilenet_v2", "MobileNetV2ForImageClassification", {**SMALL, "depth_multiplier": 0.25}),
    (
        "mobilevit",
        "MobileViTForImageClassification",
        {
            **MEDIUM,
            "patch_size": 2,
            "hidden_sizes": [12, 20, 28],
            "neck_hidden_sizes": [6, 8, 10, 14, 18, 22, 40],
            "num_attention_heads": 4,
        },
    ),
    (
        "mobilevitv2",
        "MobileViTV2ForImageClassification",
        {**MEDIUM, "patch_size": 2, "width_multiplier": 0.125, "n_attn_blocks": [1, 1, 1]},
    ),
    ("poolformer", "PoolFormerForImageClassification", STAGES),
    ("segformer", "SegformerForImageClassification", PYRAMID),
    ("segformer_segmentation", "SegformerForSemanticSegmentation", {**PYRAMID, "decoder_hidden_size": 14}),
    ("pvt", "PvtForImageClassification", PYRAMID),
    (
        "efficientnet",
        "EfficientNetForImageClassification",
        {**SMALL, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    ),
    (
        "levit",
        "LevitForImageClassification",
        {
            **MEDIUM,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [6, 6, 6],
        },
    ),
    (
        "clip",
        "CLIPModel",
        {
            "projection_dim": 14,
            "text_config": {
                "vocab_size": 37,
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": 19,
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
            },
            "vision_config": {key: value for key, value in VIT.items() if key != "num_labels"},
        },
    ),
]


def _inputs(settings: Settings) -> Inputs:
    if "text_config" in settings:
        text, vision = settings["text_config"], settings["vision_config"]
        size = vision["image_size"]
        return {"input_ids": tokens(text["vocab_size"], LENGTH), "pixel_values": noise(3, size, size)}
    size = settings["image_size"]
    return {"pixel_values": noise(3, size, size)}


MODELS = zoo(ENTRIES, _inputs)
