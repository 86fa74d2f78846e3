"""Mixtures of experts of transformers: routers of every kind, shared experts, stacks whose blocks differ."""

from __future__ import annotations

from zoo.huggingface_build import Entry, Settings, tokens, zoo
from zoo.huggingface_causal import LENGTH, MODERN, OWN_HEAD

# Every size is one of a kind, so that a wrong coupling shows as a mismatch of shapes.
ROUTED: Settings = {"num_experts_per_tok": 2, "num_local_experts": 5}
QWEN: Settings = {"num_experts_per_tok": 2, "num_experts": 5, "moe_intermediate_size": 12}
SHARED: Settings = {"num_experts_per_tok": 2, "n_routed_experts": 6, "n_shared_experts": 1, "moe_intermediate_size": 12}
GROUPS: Settings = {"n_group": 3, "topk_group": 2}
LATENT: Settings = {
    "num_key_value_heads": 4,
    "q_lora_rank": 14,
    "kv_lora_rank": 10,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
}
THREE: Settings = {"num_hidden_layers": 3}
FOUR: Settings = {"num_hidden_layers": 4}

ENTRIES: list[Entry] = [
    ("mixtral", "MixtralForCausalLM", {**MODERN, **ROUTED}),
    (
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        {**MODERN, **FOUR, **QWEN, "shared_expert_intermediate_size": 18, "decoder_sparse_step": 2},
    ),
    ("qwen3_moe", "Qwen3MoeForCausalLM", {**OWN_HEAD, **THREE, **QWEN, "mlp_only_layers": [0], "norm_topk_prob": True}),
    (
        "qwen3_next",
        "Qwen3NextForCausalLM",
        {
            **OWN_HEAD,
            **FOUR,
            **QWEN,
            "shared_expert_intermediate_size": 18,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 6,
            "linear_value_head_dim": 10,
        },
    ),
    ("olmoe", "OlmoeForCausalLM", {**MODERN, "num_experts_per_tok": 2, "num_experts": 5}),
    (
        "deepseek_v2",
        "DeepseekV2ForCausalLM",
        {**MODERN, **LATENT, **SHARED, **GROUPS, **THREE, "topk_method": "group_limited_greedy",
         "first_k_dense_replace": 1},
    ),
    (
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        {**MODERN, **LATENT, **SHARED, **GROUPS, **THREE, "first_k_dense_replace": 1},
    ),
    (
        "glm4_moe",
        "Glm4MoeForCausalLM",
        {**OWN_HEAD, **SHARED, **THREE, "use_qk_norm": True, "first_k_dense_replace": 1},
    ),
    ("gpt_oss", "GptOssForCausalLM", {**OWN_HEAD, **ROUTED, "sliding_window": 3}),
    (
        "granite_moe",
        "GraniteMoeForCausalLM",
        {
            **MODERN,
            **ROUTED,
            "embedding_multiplier": 1.5,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.3,
        },
    ),
    ("phimoe", "PhimoeForCausalLM", {**MODERN, **ROUTED, "attention_bias": True, "lm_head_bias": True}),
    ("minimax_m2", "MiniMaxM2ForCausalLM", {**OWN_HEAD, **ROUTED}),
    ("dots1", "Dots1ForCausalLM", {**OWN_HEAD, **SHARED, **THREE, "first_k_dense_replace": 1, "norm_topk_prob": True}),
    ("flex_olmo", "FlexOlmoForCausalLM", {**MODERN, "num_experts_per_tok": 2, "num_experts": 5}),
    (
        "cohere2_moe",
        "Cohere2MoeForCausalLM",
        {
            **OWN_HEAD,
            **THREE,
            "num_experts_per_tok": 2,
            "num_experts": 5,
            "num_shared_experts": 2,
            "sliding_window": 3,
            "logit_scale": 0.7,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "prefix_dense_intermediate_size": 22,
        },
    ),
    (
        "ernie4_5_moe",
        "Ernie4_5_MoeForCausalLM",
        {
            **MODERN,
            **THREE,
            "moe_intermediate_size": 12,
            "moe_k": 2,
            "moe_num_experts": 5,
            "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": 2,
        },
    ),
    ("hunyuan_moe", "HunYuanMoEV1ForCausalLM", {**OWN_HEAD, "num_experts": 5, "moe_topk": 2}),
    (
        "jetmoe",
        "JetMoeForCausalLM",
        {
            **MODERN,
            **ROUTED,
            "num_key_value_heads": 2,
            "num_attention_heads": 4,
            "kv_channels": 8,
            "activation_function": "silu",
        },
    ),
    (
        "llama4",
        "Llama4ForCausalLM",
        {
            **OWN_HEAD,
            **FOUR,
            "num_experts_per_tok": 1,
            "num_local_experts": 5,
            "intermediate_size_mlp": 22,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 16,
        },
    ),
    (
        "lfm2_moe",
        "Lfm2MoeForCausalLM",
        {**MODERN, **FOUR, **QWEN, "num_dense_layers": 1,
         "layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    ),
    (
        "afmoe",
        "AfmoeForCausalLM",
        {**OWN_HEAD, **THREE, **QWEN, "num_shared_experts": 2, "num_dense_layers": 1, "global_attn_every_n_layers": 3,
         "sliding_window": 3, "mup_enabled": True},
    ),
    (
        "jamba",
        "JambaForCausalLM",
        {
            **MODERN,
            **FOUR,
            "num_experts_per_tok": 2,
            "num_experts": 5,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 4,
            "attn_layer_offset": 2,
            "mamba_d_state": 6,
            "mamba_dt_rank": 9,
            "use_mamba_kernels": False,
        },
    ),
]  # fmt: skip

MODELS = zoo(ENTRIES, lambda settings: {"input_ids": tokens(settings["vocab_size"], LENGTH)})
