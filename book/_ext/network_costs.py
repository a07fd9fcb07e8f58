"""The papers' networks with their parameters, multiply-adds and FLOPs, counted by the library when the book is built.

``{network-costs}`` puts the table into a page of ``book/``. A count is kept for as long as neither the library nor a
version changes.
"""

import json
from pathlib import Path

import torch
from docutils import nodes
from generated import GeneratedMarkdown

from eamlib import cost, create_model
from eamlib._files import replace

# Of each paper the rows: what a network is called and what builds it. Ding et al. count MobileNetV2 with an expansion
# also where t = 1 (chapter 10).
DING, ZHANG = "Ding et al., 100 classes", "Zhang et al., 1000 classes"
_CONVS = {"": "static", ", DyNet (Ding)": "dynamic", ", EAM": "eam-rcr"}
_DING = {
    "MobileNetV1": ("mobilenet_v1", {}),
    "MobileNetV2": ("mobilenet_v2", {"expand_first": True}),
    "MobileNetV3-small": ("mobilenet_v3_small", {}),
    "MobileNetV3-large": ("mobilenet_v3_large", {}),
}
_ZHANG = {
    "MobileNetV2": "mobilenet_v2",
    "Dy-mobile": "dy_mobile",
    "ShuffleNetV2": "shufflenet_v2",
    "Dy-shuffle": "dy_shuffle",
    "ResNet18": "resnet18",
    "Dy-ResNet18": "dy_resnet18",
    "ResNet50": "resnet50",
    "Dy-ResNet50": "dy_resnet50",
}
NETWORKS = {
    DING: {
        title + kind: (network, {"conv": conv, "num_classes": 100} | options)
        for title, (network, options) in _DING.items()
        for kind, conv in _CONVS.items()
    },
    ZHANG: {title: (network, {}) for title, network in _ZHANG.items()},
}


def setup(app):
    app.add_directive("network-costs", NetworkCosts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def count(paper: str, title: str) -> dict[str, int]:
    network, options = NETWORKS[paper][title]
    with torch.device("meta"):
        model = create_model(network, **options)
    counted = cost(model)
    macs = sum(counted.multiply_adds.values())
    return {"parameters": counted.parameters, "macs": macs, "flops": counted.flops}


def counts(made: Path) -> dict[str, dict[str, dict[str, int]]]:
    """What every network costs, counted once for each state of the library."""
    kept = made / "network_costs.json"
    if not kept.exists():
        counted = {paper: {title: count(paper, title) for title in rows} for paper, rows in NETWORKS.items()}
        replace(kept, json.dumps(counted))
    return json.loads(kept.read_text(encoding="utf-8"))


class NetworkCosts(GeneratedMarkdown):
    """A table for each paper."""

    def run(self):
        self.env.note_dependency(__file__)
        return [nodes.container("", *super().run(), classes=["network-costs"])]

    def lines(self):
        for paper, rows in counts(Path(self.config.book_state)).items():
            yield from ("", f"| {paper} | parameters | MACs | FLOPs |", "|:--|--:|--:|--:|")
            for title, row in rows.items():
                yield f"| {title} | {row['parameters']:,} | {millions(row['macs'])} | {millions(row['flops'])} |"


def millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"
