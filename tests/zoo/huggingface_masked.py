"""Encoder-only language models of transformers."""

from __future__ import annotations

from zoo.huggingface_build import Entry, Settings, tokens, zoo

LENGTH = 7

# All sizes differ where they can, so that a wrong coupling of two dimensions shows as a mismatch of shapes.
BERT: Settings = {
    "vocab_size": 37,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 19,
    "type_vocab_size": 3,
}

DEBERTA: Settings = {
    **BERT,
    "type_vocab_size": 0,
    "relative_attention": True,
    "max_relative_positions": 9,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}

MODERN: Settings = {
    **BERT,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "global_attn_every_n_layers": 2,
    "local_attention": 4,
}

ENTRIES: list[Entry] = [
    ("bert", "BertForMaskedLM", BERT),
    ("bert_untied", "BertForMaskedLM", {**BERT, "tie_word_embeddings": False}),
    ("bert_classifier", "BertForSequenceClassification", {**BERT, "num_labels": 5}),
    ("bert_tagger", "BertForTokenClassification", {**BERT, "num_labels": 5}),
    ("roberta", "RobertaForMaskedLM", BERT),
    ("roberta_classifier", "RobertaForSequenceClassification", {**BERT, "num_labels": 5}),
    ("roberta_prelayernorm", "RobertaPreLayerNormForMaskedLM", BERT),
    ("camembert", "CamembertForMaskedLM", BERT),
    ("xlm_roberta", "XLMRobertaForMaskedLM", BERT),
    ("xlm_roberta_xl", "XLMRobertaXLForMaskedLM", BERT),
    (
        "distilbert",
        "DistilBertForMaskedLM",
        {
            "vocab_size": 37,
            "pad_token_id": 0,
            "dim": 24,
            "hidden_dim": 40,
            "n_layers": 2,
            "n_heads": 4,
            "max_position_embeddings": 19,
        },
    ),
    ("electra", "ElectraForMaskedLM", {**BERT, "embedding_size": 14}),
    (
        "electra_classifier",
        "ElectraForSequenceClassification",
        {**BERT, "embedding_size": 24, "num_labels": 5},
    ),
    ("albert", "AlbertForMaskedLM", {**BERT, "embedding_size": 14}),
    ("deberta", "DebertaForMaskedLM", DEBERTA),
    (
        "deberta_v2",
        "DebertaV2ForMaskedLM",
        {**DEBERTA, "share_att_key": True, "position_buckets": 5, "norm_rel_ebd": "layer_norm"},
    ),
    # The code of MPNet takes 32 buckets and padding by id 1 for granted.
    ("mpnet", "MPNetForMaskedLM", {**BERT, "pad_token_id": 1, "relative_attention_num_buckets": 32}),
    ("modernbert", "ModernBertForMaskedLM", MODERN),
    ("nomic_bert", "NomicBertForMaskedLM", BERT),
    ("squeezebert", "SqueezeBertForMaskedLM", {**BERT, "embedding_size": 24}),
    (
        "mobilebert",
        "MobileBertForMaskedLM",
        {**BERT, "embedding_size": 14, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    ),
    ("convbert", "ConvBertForMaskedLM", {**BERT, "embedding_size": 14, "conv_kernel_size": 3}),
    ("ernie", "ErnieForMaskedLM", BERT),
    ("esm", "EsmForMaskedLM", {**BERT, "mask_token_id": 3, "position_embedding_type": "rotary"}),
    ("fnet", "FNetForMaskedLM", BERT),
    ("megatron_bert", "MegatronBertForMaskedLM", BERT),
    ("rembert", "RemBertForMaskedLM", {**BERT, "input_embedding_size": 14, "output_embedding_size": 18}),
    ("roformer", "RoFormerForMaskedLM", {**BERT, "embedding_size": 14}),
    ("eurobert", "EuroBertForMaskedLM", {**BERT, "num_key_value_heads": 2}),
]

MODELS = zoo(ENTRIES, lambda settings: {"input_ids": tokens(settings["vocab_size"], LENGTH)})
