"""Encoder-decoder models of transformers."""

from __future__ import annotations

from zoo.huggingface_build import Entry, Inputs, Settings, noise, tokens, zoo

SOURCE, TARGET = 7, 5

VOCABULARY: Settings = {
    "vocab_size": 37,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}

# All sizes differ where they can, so that a wrong coupling of two dimensions shows as a mismatch of shapes.
T5: Settings = {
    **VOCABULARY,
    "d_model": 24,
    "d_kv": 5,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 10,
    "relative_attention_max_distance": 16,
}

BART: Settings = {
    **VOCABULARY,
    "forced_eos_token_id": 2,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 44,
    "max_position_embeddings": 19,
}

ENTRIES: list[Entry] = [
    ("t5", "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "relu"}),
    (
        "t5_untied",
        "T5ForConditionalGeneration",
        {**T5, "feed_forward_proj": "relu", "tie_word_embeddings": False},
    ),
    ("t5_gated", "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu"}),
    (
        "t5_gated_untied",
        "T5ForConditionalGeneration",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    ("mt5", "MT5ForConditionalGeneration", T5),
    ("umt5", "UMT5ForConditionalGeneration", T5),
    ("bart", "BartForConditionalGeneration", BART),
    ("mbart", "MBartForConditionalGeneration", BART),
    ("pegasus", "PegasusForConditionalGeneration", BART),
    ("marian", "MarianMTModel", BART),
    ("blenderbot", "BlenderbotForConditionalGeneration", BART),
    ("blenderbot_small", "BlenderbotSmallForConditionalGeneration", BART),
    ("m2m_100", "M2M100ForConditionalGeneration", BART),
    ("plbart", "PLBartForConditionalGeneration", BART),
    (
        "whisper",
        "WhisperForConditionalGeneration",
        {
            **BART,
            "num_mel_bins": 11,
            "max_source_positions": SOURCE,
            "max_target_positions": 19,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
    ),
]


def _inputs(settings: Settings) -> Inputs:
    target = {"decoder_input_ids": tokens(settings["vocab_size"], TARGET, seed=1)}
    if "num_mel_bins" in settings:
        # The second convolution of the audio encoder halves the number of frames.
        return {"input_features": noise(settings["num_mel_bins"], 2 * SOURCE), **target}
    return {"input_ids": tokens(settings["vocab_size"], SOURCE), **target}


MODELS = zoo(ENTRIES, _inputs)
