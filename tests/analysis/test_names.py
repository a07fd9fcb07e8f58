import pytest
import torch
from torch import nn

import eamlib
from eamlib.analysis.names import CONVOLUTIONS, layer_names
from eamlib.models.registry import list_models


@pytest.mark.parametrize("name", list_models())
def test_every_convolution_of_a_network_has_a_name_of_its_own(name):
    with torch.device("meta"):
        model = eamlib.create_model(name, width_mult=0.5, num_classes=10)
    names = layer_names(model)
    convolutions = [path for path, layer in model.features.named_modules() if isinstance(layer, CONVOLUTIONS)]
    found = [names[f"features.{path}"] for path in convolutions]
    assert len(set(found)) == len(found) and not any("." in one for one in found)
    assert found[0] == "stem"


def test_the_blocks_are_those_of_the_papers_table():
    with torch.device("meta"):
        names = layer_names(eamlib.create_model("mobilenet_v2"))
    assert names["features.1.layers.0.0"] == "block 1, depthwise"  # where t = 1 nothing is expanded
    assert names["features.2.layers.0.0"] == "block 2, pointwise (1)"
    assert names["features.2.layers.2.1"] == "block 2, pointwise (2)"  # its normalisation
    assert {names[f"features.{last}"] for last in (18, "18.0", "18.2")} == {"head"}
    assert names["features.2"] == "features.2"  # a block is no layer


def test_attentions_belong_to_their_layer():
    names = layer_names(eamlib.create_model("mobilenet_v1", "eam-rcr", width_mult=0.25))
    attentions = {name for path, name in names.items() if path.endswith(".attention")}
    assert len(attentions) == 26 and "block 13, pointwise" in attentions


def test_a_network_of_others_keeps_its_paths():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert layer_names(model) == {"": "", "0": "0", "1": "1"}
