"""Words of a config that equal a size by chance stay; what changes is in the plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.pretrained import Search
from support import trained

transformers: Any = pytest.importorskip("transformers")

# Every word equals another one, or a root of one: 16, 32, 2 and 0.25.
WORDS = {
    "vocab_size": 16, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "initializer_range": 0.25, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROWN = {"hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "rms_norm_eps"}


def llama() -> nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**WORDS))  # type: ignore[no-any-return]


def mistral() -> nn.Module:
    return transformers.MistralForCausalLM(  # type: ignore[no-any-return]
        transformers.MistralConfig(**WORDS, sliding_window=16)
    )


def gemma2() -> nn.Module:
    words = {"sliding_window": 16, "head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 16.0}
    return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**WORDS, **words))  # type: ignore[no-any-return]


def gpt2() -> nn.Module:
    words = {"vocab_size": 16, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 32}
    config = transformers.GPT2Config(**words, initializer_range=0.25, bos_token_id=1, eos_token_id=2)
    return transformers.GPT2LMHeadModel(config)  # type: ignore[no-any-return]


def bert() -> nn.Module:
    words = {k: v for k, v in WORDS.items() if not k.startswith(("num_key", "bos", "eos"))}
    return transformers.BertModel(transformers.BertConfig(**words))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "sizes", "words"),
    [
        (llama, 2.0, GROWN),
        (llama, {"*mlp*gate_proj": 48}, {"intermediate_size"}),
        (mistral, 2.0, GROWN),
        (gemma2, 2.0, GROWN),
        (gpt2, 2.0, {"n_embd", "n_inner", "n_head", "layer_norm_epsilon"}),
        (bert, {"*intermediate*": 48}, {"intermediate_size"}),
    ],
)
def test_only_what_a_draft_needs(make: Callable[[], nn.Module], sizes: Any, words: set[str]) -> None:
    torch.manual_seed(0)
    teacher: Any = trained(make())
    inputs = {"input_ids": torch.randint(3, 16, (2, 7))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        growth = net2net.widen(teacher, sizes, inputs)
    student: Any = growth.student
    before, after = teacher.config.to_dict(), student.config.to_dict()
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == words
    assert {place.removeprefix("config.") for place in growth.plan.changed} == changed
    with torch.no_grad():  # as long as the sliding window and more
        more = torch.randint(3, 16, (2, 16))
        a, b = teacher.eval()(input_ids=more)[0], student.eval()(input_ids=more)[0]
    assert ((a - b).abs().max() / a.abs().max()).item() <= 1e-5  # norms of these classes compute in float32


class Picky(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """Its constructor has a reason of its own against other sizes and other depths."""

    def __init__(self, config: Any) -> None:
        if (config.intermediate_size, config.num_hidden_layers) != (32, 2):
            raise ArithmeticError("the moon is full")
        super().__init__(config)


@pytest.mark.parametrize(
    "grow",
    [
        lambda model, inputs: net2net.widen(model, {"*mlp*gate_proj": 48}, inputs),
        lambda model, inputs: net2net.deepen(model, {"model.layers": 1}, inputs),
    ],
    ids=["wider", "deeper"],
)
def test_the_reason_of_a_class_is_told(grow: Callable[[nn.Module, Any], Any]) -> None:
    """Why the class refuses is in the refusal: without it, a mistake of ours would read as its."""
    inputs = {"input_ids": torch.arange(3, 13).reshape(2, 5)}
    with pytest.raises(net2net.CouplingError, match="the moon is full"):
        grow(Picky(transformers.LlamaConfig(**WORDS)), inputs)


def test_a_key_that_is_wrong_is_no_refusal_of_the_class() -> None:
    search = Search(llama())
    assert search.constructed({("intermediate_size",): 48}) is not None
    assert search.constructed({("intermediate_size",): "many"}) is None and "many" in str(search.refusal)
    with pytest.raises(AttributeError):
        search.constructed({("no_such_config", "intermediate_size"): 48})
