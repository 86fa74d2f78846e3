"""Replica routing goes into a router of the network's own class, and says how far off that is."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

import net2net
from mixtures import RULES, Rule, network, tokens
from net2net.moe import mixtures


@pytest.mark.thin(5)
@pytest.mark.parametrize("rule", [r for r in RULES if not r.groups], ids=str)
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_released_network_is_of_its_own_class_and_says_how_far_off_it_is(rule: Rule, top_k: int) -> None:
    teacher = network("stacked", rule, 4, top_k)
    student = net2net.upcycle(teacher, 2.0, tokens()).student
    growth = net2net.release_routing(student, tokens())
    assert type(growth.student[1].experts) is type(teacher[1].experts)
    with torch.no_grad():
        ours, theirs = student(tokens()), growth.student(tokens())
    error = float((ours - theirs).abs().max() / ours.abs().max())
    assert growth.plan.preserves == "approximate"
    assert growth.verification.errors["eval/given/output"] == pytest.approx(error, rel=1e-6)
    assert growth.student.state_dict().keys() == teacher.state_dict().keys()
    found = mixtures(growth.student, tokens()).found["1.experts"]
    assert (found.size, found.sources, found.top_k) == (8, 8, top_k)
    assert growth.plan.changes[0].summary()["together"] is not None
    if top_k == 1 and rule.renormalised and not rule.bias:  # of one chosen expert only a near tie is told otherwise
        assert growth.verification.errors["eval/given/output"] < 0.5


def test_what_cannot_be_released_is_refused() -> None:
    teacher = network("stacked", Rule(), 4, 2)
    with pytest.raises(net2net.OptionError, match="no replica routing"):
        net2net.release_routing(teacher, tokens())
    twice = net2net.upcycle(net2net.upcycle(teacher, 2.0, tokens()).student, 2.0, tokens()).student
    with pytest.raises(net2net.OptionError, match="replicas of replicas"):
        net2net.release_routing(twice, tokens())
    listed = net2net.upcycle(network("list", Rule(), 4, 2), 2.0, tokens()).student
    with pytest.raises(net2net.OptionError, match="a list of experts"):
        net2net.release_routing(listed, tokens())
    growth = net2net.release_routing(net2net.upcycle(teacher, 2.0, tokens()).student, tokens())
    with pytest.raises(net2net.OptionError, match="release each by itself"):
        net2net.replay(growth.plan, growth.teacher, tokens())
    with pytest.raises(net2net.OptionError, match="release each by itself"):
        growth.replay(growth.teacher)


def test_a_model_of_transformers_loads_into_its_class_again() -> None:
    config = transformers.MixtralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=32,
    )  # fmt: skip
    model: nn.Module = transformers.MixtralForCausalLM(config).eval()
    inputs = {"input_ids": torch.arange(16).reshape(2, 8)}
    student = net2net.release_routing(net2net.upcycle(model, "2x", inputs).student, inputs).student
    assert student.config.num_local_experts == 8
    type(student)(student.config).load_state_dict(student.state_dict())
