"""Imitations of an attention learn what they can read, and nothing else."""

from functools import partial

import pytest
import torch
from torch import nn

from eamlib.analysis.diagnose import diagnosis
from eamlib.layers import DynamicConv2d, EAMAttention, KernelAttention, UniformAttention
from eamlib.redundancy import imitate

FIRST_QUARTER = partial(EAMAttention, select="slice0", output_size=2)


def images(count, seed=0):
    return torch.randn(count, 16, 4, 4, generator=torch.Generator().manual_seed(seed)) * 3


def network(select):
    """One dynamic layer, whose attention reads a quarter of 16 channels and differs much between images."""
    torch.manual_seed(0)
    layer = DynamicConv2d(16, 4, 1, num_kernels=3, attention=EAMAttention(16, 3, select=select, output_size=2))
    with torch.no_grad():
        for parameter in layer.attention.parameters():
            parameter.mul_(2)
    return nn.Sequential(layer)


def imitated(model, attention=FIRST_QUARTER, train=1_000, **options):
    [found] = imitate(model, images(train).split(300), images(500, seed=1).split(200), {"it": attention}, **options)[
        "it"
    ]
    return found


def test_what_is_read_is_imitated_and_what_is_not_read_is_not():
    seen, unseen = imitated(network("slice0"), epochs=40), imitated(network("slice3"), epochs=5)
    assert seen.layer == unseen.layer == "0"
    assert seen.constant > 0.05 and unseen.constant > 0.05  # bits
    assert seen.share > 0.9
    assert unseen.share < 0.05


def test_the_divergence_is_that_of_the_imitation_in_the_network():
    model = network("slice0")
    found = imitated(model, epochs=2)
    with torch.no_grad():
        own, answers = (attention(images(500, seed=1)) for attention in (model[0].attention, found.attention))
    expected = (own * (own / answers).log2()).sum(1).mean().item()
    assert found.divergence == pytest.approx(expected, rel=1e-3)


def test_the_best_constant_misses_the_information_of_the_attention():
    model, batches = network("slice0"), [images(400)]
    [found] = imitate(model, batches, batches, {"it": FIRST_QUARTER}, epochs=1)["it"]
    with torch.no_grad():
        share = diagnosis("0", model[0].attention(batches[0]).double()).information  # of log2 3 bits
    assert found.constant == pytest.approx(share * torch.tensor(3.0).log2().item(), abs=1e-5)


def test_of_a_static_attention_nothing_is_imitated():
    model = nn.Sequential(DynamicConv2d(16, 4, 1, num_kernels=3, attention=UniformAttention(16, 3)))
    found = imitated(model, KernelAttention, train=100, epochs=1)
    assert found.constant == pytest.approx(0, abs=1e-6) and found.share == 0


def test_several_are_taught_at_once_by_what_each_reads():
    both = {
        "first": FIRST_QUARTER,
        "last": partial(EAMAttention, select="slice3", output_size=2),
        "all": KernelAttention,
    }
    found = imitate(network("slice3"), [images(1_000)], [images(500, seed=1)], both, epochs=20)
    first, last, _ = (found[name][0] for name in both)
    assert first.constant == last.constant and last.share > 0.5 > 0.05 > first.share


def test_a_temperature_of_the_imitation_is_its_own():
    model = network("slice0")
    found = imitated(model, partial(FIRST_QUARTER, temperature=5.0), epochs=40)
    assert found.share > 0.5 and found.attention.temperature == 5


def test_nothing_but_the_imitation_changes_and_the_seed_decides():
    model = network("slice0").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    once, again, other = (imitated(model, train=100, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert once.divergence == again.divergence != other.divergence
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"learning_rate": 0.0}, "learning_rate = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"attentions": {"it": UniformAttention}}, r"attentions\['it'\] makes a UniformAttention; allowed is an EAM"),
        ({"model": nn.Conv2d(16, 2, 1)}, "has no dynamic layer"),
        ({"test": []}, "batches holds no image"),
    ],
)
def test_bad_input_is_named(wrong, match):
    given = {"model": network("slice0"), "train": [images(4)], "test": [images(4)]}
    given["attentions"] = {"it": FIRST_QUARTER}
    with pytest.raises(ValueError, match=match):
        imitate(**given | wrong)
