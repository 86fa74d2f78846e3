"""Mixtures of experts: found in any network, grown, made from feed-forwards."""

from net2net.moe._attached import REPLICAS_FILE, attach_replicas, save_replicas
from net2net.moe._copies import Copied, counts_experts, counts_per_token, plan_copies, words_of_experts
from net2net.moe._counts import Experts
from net2net.moe._dense import Mixing
from net2net.moe._experts import MixtureOfExperts, StackedExperts, TopKRouter
from net2net.moe._gate import Gate
from net2net.moe._listed import experts_listed
from net2net.moe._mixtures import Mixture, Mixtures, mixtures
from net2net.moe._release import release_routing
from net2net.moe._replicas import second_map
from net2net.moe._routing import ReplicaExperts, ReplicaRouting, ReplicatedExpert, balance_experts
from net2net.moe._scores import expert_scores
from net2net.moe._upcycle import ROUTINGS, upcycle
from net2net.moe._watched import Watched, replica_figures, watch_replicas

__all__ = [
    "REPLICAS_FILE",
    "ROUTINGS",
    "Copied",
    "Experts",
    "Gate",
    "Mixing",
    "Mixture",
    "MixtureOfExperts",
    "Mixtures",
    "ReplicaExperts",
    "ReplicaRouting",
    "ReplicatedExpert",
    "StackedExperts",
    "TopKRouter",
    "Watched",
    "attach_replicas",
    "balance_experts",
    "counts_experts",
    "counts_per_token",
    "expert_scores",
    "experts_listed",
    "mixtures",
    "plan_copies",
    "release_routing",
    "replica_figures",
    "save_replicas",
    "second_map",
    "upcycle",
    "watch_replicas",
    "words_of_experts",
]
