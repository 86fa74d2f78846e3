"""Decoder-only language models of transformers."""

from __future__ import annotations

from zoo.huggingface_build import Entry, Settings, tokens, zoo

LENGTH = 7

VOCABULARY: Settings = {"vocab_size": 37, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# All sizes differ where they can, so that a wrong coupling of two dimensions shows as a mismatch of shapes.
MODERN: Settings = {
    **VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 19,
}

# The heads of these families need not add up to the hidden size.
OWN_HEAD: Settings = {**MODERN, "head_dim": 8}

# Rotating only a part of each head needs heads wide enough for that part to be even.
PARTLY_ROTARY: Settings = {**MODERN, "hidden_size": 32}

# Families from before grouped queries.
CLASSIC: Settings = {key: value for key, value in PARTLY_ROTARY.items() if key != "num_key_value_heads"}

GPT: Settings = {**VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40, "n_positions": 19}

OPT: Settings = {
    **VOCABULARY,
    "hidden_size": 24,
    "word_embed_proj_dim": 24,
    "ffn_dim": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 19,
}

FALCON: Settings = {
    **VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_hidden_size": 40,
    "max_position_embeddings": 19,
}

ENTRIES: list[Entry] = [
    ("llama", "LlamaForCausalLM", MODERN),
    ("llama_biased", "LlamaForCausalLM", {**MODERN, "attention_bias": True, "mlp_bias": True}),
    ("llama_tied", "LlamaForCausalLM", {**MODERN, "tie_word_embeddings": True}),
    ("llama_multi_query", "LlamaForCausalLM", {**MODERN, "num_key_value_heads": 1}),
    ("mistral", "MistralForCausalLM", {**MODERN, "sliding_window": 3}),
    ("qwen2", "Qwen2ForCausalLM", MODERN),
    ("qwen3", "Qwen3ForCausalLM", OWN_HEAD),
    ("gemma", "GemmaForCausalLM", OWN_HEAD),
    ("gemma2", "Gemma2ForCausalLM", {**OWN_HEAD, "query_pre_attn_scalar": 8, "sliding_window": 3}),
    ("gemma3", "Gemma3ForCausalLM", {**OWN_HEAD, "query_pre_attn_scalar": 8, "sliding_window": 3}),
    ("gpt2", "GPT2LMHeadModel", GPT),
    (
        "gpt_neo",
        "GPTNeoForCausalLM",
        {
            **VOCABULARY,
            "hidden_size": 24,
            "num_layers": 2,
            "num_heads": 4,
            "intermediate_size": 40,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
            "max_position_embeddings": 19,
        },
    ),
    ("gpt_neox", "GPTNeoXForCausalLM", CLASSIC),
    ("gptj", "GPTJForCausalLM", {**GPT, "rotary_dim": 4}),
    ("gpt_bigcode", "GPTBigCodeForCausalLM", GPT),
    ("opt", "OPTForCausalLM", OPT),
    (
        "opt_projected",
        "OPTForCausalLM",
        {**OPT, "word_embed_proj_dim": 14, "do_layer_norm_before": False},
    ),
    ("phi", "PhiForCausalLM", PARTLY_ROTARY),
    ("phi3", "Phi3ForCausalLM", {**MODERN, "original_max_position_embeddings": 19}),
    ("falcon_multi_query", "FalconForCausalLM", {**FALCON, "multi_query": True}),
    (
        "falcon_grouped",
        "FalconForCausalLM",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    (
        "falcon_alibi",
        "FalconForCausalLM",
        {**FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    ("bloom", "BloomForCausalLM", {**VOCABULARY, "hidden_size": 24, "n_layer": 2, "n_head": 4}),
    (
        "mpt",
        "MptForCausalLM",
        {**VOCABULARY, "d_model": 24, "n_heads": 4, "n_layers": 2, "expansion_ratio": 3, "max_seq_len": 19},
    ),
    ("olmo", "OlmoForCausalLM", {**MODERN, "clip_qkv": 2.0}),
    ("olmo2", "Olmo2ForCausalLM", MODERN),
    ("olmo3", "Olmo3ForCausalLM", {**MODERN, "sliding_window": 3}),
    ("stablelm", "StableLmForCausalLM", {**PARTLY_ROTARY, "use_qkv_bias": True}),
    (
        "stablelm_parallel",
        "StableLmForCausalLM",
        {**PARTLY_ROTARY, "use_parallel_residual": True, "qk_layernorm": True},
    ),
    ("starcoder2", "Starcoder2ForCausalLM", MODERN),
    ("cohere", "CohereForCausalLM", {**MODERN, "use_qk_norm": True, "logit_scale": 0.7}),
    ("cohere2", "Cohere2ForCausalLM", {**MODERN, "sliding_window": 3, "logit_scale": 0.7}),
    (
        "granite",
        "GraniteForCausalLM",
        {
            **MODERN,
            "embedding_multiplier": 1.5,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.3,
        },
    ),
    ("codegen", "CodeGenForCausalLM", {**GPT, "rotary_dim": 4}),
    ("nemotron", "NemotronForCausalLM", PARTLY_ROTARY),
    ("smollm3", "SmolLM3ForCausalLM", {**MODERN, "no_rope_layers": [1, 0]}),
    ("glm", "GlmForCausalLM", OWN_HEAD),
    ("glm4", "Glm4ForCausalLM", OWN_HEAD),
    ("helium", "HeliumForCausalLM", {**MODERN, "head_dim": 6}),
    ("ernie4_5", "Ernie4_5ForCausalLM", OWN_HEAD),
    (
        "minicpm3",
        "MiniCPM3ForCausalLM",
        {
            **MODERN,
            "num_key_value_heads": 4,
            "q_lora_rank": 14,
            "kv_lora_rank": 10,
            "qk_nope_head_dim": 6,
            "qk_rope_head_dim": 4,
            "v_head_dim": 5,
            "dim_model_base": 12,
        },
    ),
    ("biogpt", "BioGptForCausalLM", CLASSIC),
    ("persimmon", "PersimmonForCausalLM", CLASSIC),
    ("arcee", "ArceeForCausalLM", MODERN),
    ("apertus", "ApertusForCausalLM", MODERN),
    ("diffllama", "DiffLlamaForCausalLM", MODERN),
    ("exaone4", "Exaone4ForCausalLM", {**OWN_HEAD, "sliding_window": 3}),
    ("hunyuan", "HunYuanDenseV1ForCausalLM", OWN_HEAD),
]

MODELS = zoo(ENTRIES, lambda settings: {"input_ids": tokens(settings["vocab_size"], LENGTH)})
