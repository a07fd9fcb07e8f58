"""The accuracy tables of both papers: what they print, and the network behind every row.

Ding et al. 2021 (EAM), Appl. Sci. 11, 3111, https://doi.org/10.3390/app11073111: top-1 accuracies on CIFAR-10,
CIFAR-100 and ImageNet100. Its ablations repeat rows of its first table under other names: such rows are the same
network here.

Zhang et al. 2020 (DyNet), https://arxiv.org/abs/2004.10694: two ablations. Their accuracies, on ImageNet, are not in
the text of the paper that we hold; they are None, never guessed.

Two more tables are ours: what each part of our recipe is good for, and whether attention over kernels helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eamlib._checks import one_of

EAM, DYNET, OURS = "Ding et al. 2021", "Zhang et al. 2020", "This book"
OTHERWISE = "otherwise"
"""The augmentation of a row that is augmented where the other rows are not, and not where they are."""


@dataclass(frozen=True)
class Row:
    """One row of a table: what builds its network, and what the paper prints for it.

    Attributes:
        name: short, for the command line; unique within its table.
        title: for the reader.
        network, conv, width_mult, options: for :func:`eamlib.create_model`; options at their default are left out, so
            that rows of the same network are equal in these.
        printed: top-1 accuracy in percent by data set; None where the figure is not in the text that we hold. Empty
            where the row is ours.
        baseline: the name of the row in this table that it is compared with; None for a baseline.
        changes: what differs from the recipe of :mod:`eamlib.papers.training_runs`, by the names of
            :class:`eamlib.training.recipe.Recipe`; ``augment`` may be :data:`OTHERWISE`.

    Example:
        >>> row = TABLES["channels"].row("n2")
        >>> row.network, row.conv, dict(row.options)
        ('mobilenet_v1', 'eam-rcr', {'channels': 2})
    """

    name: str
    title: str
    network: str
    conv: str
    width_mult: float
    printed: Mapping[str, float | None]
    options: Mapping[str, object] = field(default_factory=dict)
    baseline: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """An accuracy table.

    Attributes:
        name: for the command line.
        title: what is varied.
        paper: authors and year.
        number: of the table in the paper; None for our own, and where the table is not in the text that we hold.
        rows: in the paper's order.
        remark: what a reader of the figures should know.

    Example:
        >>> table = TABLES["pooling"]
        >>> table.title, [row.name for row in table.rows]
        ('how EAM pools, in MobileNetV1 ×1.0', ['dynamic', 'avg', 'max'])
        >>> dict(table.row("max").options)
        {'pool': 'max'}
    """

    name: str
    title: str
    paper: str
    number: int | None
    rows: tuple[Row, ...]
    remark: str = ""

    def row(self, name: str) -> Row:
        """The row called ``name``.

        Raises:
            ValueError: if there is none.
        """
        return self.rows[[row.name for row in self.rows].index(one_of("row", name, (row.name for row in self.rows)))]


_TITLES = {
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3-small",
    "mobilenet_v3_large": "MobileNetV3-large",
}
_CONVS = {
    "static": "static",
    "dynamic": "DyNet (Ding)",
    "eam-rcr": "EAM RCR",
    "eam-cgr": "EAM CGR",
    "eam-cgr-max": "EAM CGR-MAX",
}


def _row(
    name: str, title: str, conv: str, *printed: float, network: str = "mobilenet_v1", width: float = 1.0, **more
) -> Row:
    """A row. ``printed`` are its figures on the EAM paper's three data sets; without them the row is ours."""
    figures = dict(zip(("cifar10", "cifar100", "imagenet100"), printed, strict=True)) if printed else {}
    return Row(name, title, network, conv, width, figures, **more)


def _baseline_row(network: str, width: float, conv: str, *printed: float, baseline: str | None = None) -> Row:
    """A row of the first table; ``baseline`` is the conv that it is compared with, at the same width."""
    return _row(
        f"{network}-x{width:g}-{conv}",
        f"{_TITLES[network]} ×{width}, {_CONVS[conv]}",
        conv,
        *printed,
        network=network,
        width=width,
        options={"expand_first": True} if network == "mobilenet_v2" else {},
        baseline=baseline and f"{network}-x{width:g}-{baseline}",
    )


def _ablation_row(name: str, title: str, conv: str, *printed: float, **options) -> Row:
    """A row of an ablation: EAM in MobileNetV1 ×1.0, compared with the table's first row."""
    return _row(name, f"EAM, {title}", conv, *printed, options=options, baseline="dynamic")


_DYNAMIC = _row("dynamic", "DyNet (Ding)", "dynamic", 93.99, 74.76, 75.94)  # the first row of every ablation

_BASELINE = Table(
    "baseline",
    "networks and widths",
    EAM,
    1,
    (
        _baseline_row("mobilenet_v1", 1.0, "static", 93.83, 74.41, 75.27),
        _baseline_row("mobilenet_v1", 1.0, "dynamic", 93.99, 74.76, 75.94, baseline="static"),
        _baseline_row("mobilenet_v1", 1.0, "eam-rcr", 93.61, 74.83, 76.37, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 1.0, "eam-cgr", 93.93, 75.21, 76.11, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 0.75, "static"),
        _baseline_row("mobilenet_v1", 0.75, "dynamic", 93.50, 73.54, 74.14, baseline="static"),
        _baseline_row("mobilenet_v1", 0.75, "eam-rcr", 93.49, 73.88, 74.67, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 0.75, "eam-cgr", 93.55, 74.04, 74.51, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 0.5, "static"),
        _baseline_row("mobilenet_v1", 0.5, "dynamic", 93.15, 72.31, 72.27, baseline="static"),
        _baseline_row("mobilenet_v1", 0.5, "eam-rcr", 92.70, 72.85, 72.93, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 0.5, "eam-cgr", 92.78, 72.42, 72.15, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 0.25, "static"),
        _baseline_row("mobilenet_v1", 0.25, "dynamic", 91.14, 68.30, 66.76, baseline="static"),
        _baseline_row("mobilenet_v1", 0.25, "eam-rcr", 91.01, 68.61, 68.50, baseline="dynamic"),
        _baseline_row("mobilenet_v1", 0.25, "eam-cgr", 91.12, 68.71, 67.25, baseline="dynamic"),
        _baseline_row("mobilenet_v2", 1.0, "static", 93.60, 74.90, 77.66),
        _baseline_row("mobilenet_v2", 1.0, "dynamic", 94.09, 75.50, 78.11, baseline="static"),
        _baseline_row("mobilenet_v2", 1.0, "eam-rcr", 94.07, 75.23, 78.67, baseline="dynamic"),
        _baseline_row("mobilenet_v2", 1.0, "eam-cgr-max", 94.22, 75.44, 78.26, baseline="dynamic"),
        _baseline_row("mobilenet_v3_small", 1.0, "static"),
        _baseline_row("mobilenet_v3_small", 1.0, "dynamic", 91.97, 73.10, 69.22, baseline="static"),
        _baseline_row("mobilenet_v3_small", 1.0, "eam-rcr", 91.93, 72.14, 69.65, baseline="dynamic"),
        _baseline_row("mobilenet_v3_small", 1.0, "eam-cgr-max", 92.13, 72.42, 70.64, baseline="dynamic"),
        _baseline_row("mobilenet_v3_large", 1.0, "static", 93.70, 75.20, 76.36),
        _baseline_row("mobilenet_v3_large", 1.0, "dynamic", 94.15, 75.03, 76.37, baseline="static"),
        _baseline_row("mobilenet_v3_large", 1.0, "eam-rcr", 94.00, 74.77, 76.62, baseline="dynamic"),
        _baseline_row("mobilenet_v3_large", 1.0, "eam-cgr-max", 94.20, 75.15, 76.37, baseline="dynamic"),
    ),
    "The paper has no static MobileNetV3-small and no static network narrower than ×1.0: those rows are ours. Its cost "
    "table gives the 78.26 of MobileNetV2 with CGR-MAX to CGR. MobileNetV2 has the extra expansion that its printed "
    "counts need.",
)
_CHANNELS = Table(
    "channels",
    "how many channels RCR draws, in MobileNetV1 ×1.0",
    EAM,
    3,
    (
        _DYNAMIC,
        _ablation_row("n2", "2 channels", "eam-rcr", 93.95, 74.50, 75.78, channels=2),
        _ablation_row("n4", "4 channels", "eam-rcr", 93.61, 74.83, 76.37),
        _ablation_row("n8", "8 channels", "eam-rcr", 94.07, 74.70, 75.45, channels=8),
    ),
)
_SELECTION = Table(
    "selection",
    "which channels EAM reads, in MobileNetV1 ×1.0",
    EAM,
    4,
    (
        _DYNAMIC,
        _ablation_row("stride", "every 4th channel", "eam-stride", 93.72, 74.84, 76.58),
        _ablation_row("slice0", "channels 0 to ¼ C", "eam-slice0", 93.79, 74.38, 75.92),
        _ablation_row("slice1", "channels ¼ C to ½ C", "eam-slice1", 93.90, 75.18, 75.20),
        _ablation_row("slice2", "channels ½ C to ¾ C", "eam-slice2", 93.62, 75.03, 75.80),
        _ablation_row("slice3", "channels ¾ C to C", "eam-slice3", 94.03, 74.99, 76.23),
        _ablation_row("rcr", "RCR", "eam-rcr", 93.61, 74.83, 76.37),
        _ablation_row("cgr", "CGR", "eam-cgr", 93.93, 75.21, 76.11),
    ),
)
_POOLING = Table(
    "pooling",
    "how EAM pools, in MobileNetV1 ×1.0",
    EAM,
    6,
    (
        _DYNAMIC,
        _ablation_row("avg", "average pooling", "eam-rcr", 93.61, 74.83, 76.37),
        _ablation_row("max", "maximum pooling", "eam-rcr", 93.89, 74.91, 76.50, pool="max"),
    ),
)
_OUTPUT_SIZE = Table(
    "output-size",
    "what size EAM pools to, in MobileNetV1 ×1.0",
    EAM,
    7,
    (
        _DYNAMIC,
        _ablation_row("p1", "1 × 1", "eam-rcr", output_size=1),
        _ablation_row("p3", "3 × 3", "eam-rcr", 94.08, 74.56, 75.84, output_size=3),
        _ablation_row("p5", "5 × 5", "eam-rcr", 93.61, 74.83, 76.37),
        _ablation_row("p7", "7 × 7", "eam-rcr", 93.73, 74.27, 76.27, output_size=7),
        _ablation_row("cgr-p1", "CGR, 1 × 1", "eam-cgr", output_size=1),
        _ablation_row("cgr-p5", "CGR, 5 × 5", "eam-cgr"),
    ),
    "The paper does not go down to one number a channel, and varies the size for RCR alone: the rows of 1 × 1 and of "
    "CGR are ours.",
)

_UNKNOWN = "The paper's accuracies, on ImageNet, are not in the text that we hold."
_NOT_HELD = {"imagenet": None}
_GROUP_SIZE = Table(
    "g_t",
    "how many kernels an output channel of DyNet (Zhang) mixes",
    DYNET,
    None,
    (
        Row("g1", "Dy-mobile ×1.0, g_t = 1", "dy_mobile", "dynet", 1.0, _NOT_HELD, {"group_size": 1}),
        Row("g2", "Dy-mobile ×1.0, g_t = 2", "dy_mobile", "dynet", 1.0, _NOT_HELD, {"group_size": 2}, "g1"),
        Row("g4", "Dy-mobile ×1.0, g_t = 4", "dy_mobile", "dynet", 1.0, _NOT_HELD, {"group_size": 4}, "g1"),
        Row("g6", "Dy-mobile ×1.0, g_t = 6", "dy_mobile", "dynet", 1.0, _NOT_HELD, baseline="g1"),
    ),
    f"{_UNKNOWN} Nor is the network: Dy-mobile ×1.0 is our choice.",
)
_FIX_DY = Table(
    "fix-dy",
    "the same narrow network with fixed kernels and with dynamic ones",
    DYNET,
    None,
    (
        Row("fix-mobile", "Fix-mobile ×1.0", "fix_mobile", "static", 1.0, _NOT_HELD),
        Row("dy-mobile", "Dy-mobile ×1.0", "dy_mobile", "dynet", 1.0, _NOT_HELD, baseline="fix-mobile"),
        Row("fix-shuffle", "Fix-shuffle ×1.5", "fix_shuffle", "static", 1.5, _NOT_HELD),
        Row("dy-shuffle", "Dy-shuffle ×1.5", "dy_shuffle", "dynet", 1.5, _NOT_HELD, baseline="fix-shuffle"),
    ),
    f"{_UNKNOWN} The widths are those whose counts are nearest to the printed ones.",
)


def _trick_row(name: str, title: str, conv: str = "static", baseline: str | None = "all", **changes) -> Row:
    """A row of our own table: MobileNetV1 ×0.25, trained as all rows of all tables are but for ``changes``."""
    return _row(name, title, conv, width=0.25, baseline=baseline, changes=changes)


_TRICKS = Table(
    "tricks",
    "what each part of the recipe is good for, in MobileNetV1 ×0.25",
    OURS,
    None,
    (
        _trick_row("all", "static, the whole recipe", baseline=None),
        _trick_row("no-warm-up", "no warm-up", warm_up=0.0),
        _trick_row("constant", "a constant learning rate after warm-up", schedule="constant"),
        _trick_row("no-momentum", "no momentum", momentum=0.0),
        _trick_row("no-weight-decay", "no weight decay", weight_decay=0.0),
        _trick_row("no-label-smoothing", "no label smoothing", label_smoothing=0.0),
        _trick_row("augment", "crops and flips, or none where the recipe has them", augment=OTHERWISE),
        _trick_row("ema", "and the weights averaged, decay 0.99", ema=0.99),
        _trick_row("bf16", "mixed precision, bfloat16", precision="bf16"),
        _trick_row("dynamic", "DyNet (Ding), the whole recipe", "dynamic", baseline=None),
        _trick_row(
            "no-temperature", "DyNet (Ding), temperature 1 from the start", "dynamic", "dynamic", temperature=None
        ),
    ),
)
_ATTENTION = Table(
    "attention",
    "whether attention over kernels helps, and what it has to read, in MobileNetV1 ×0.25",
    OURS,
    None,
    (
        _row("static", "static", "static", width=0.25),
        _row("placebo", "four kernels, each weighted ¼", "dynamic-uniform", baseline="static", width=0.25),
        _row("dynamic", "DyNet (Ding)", "dynamic", 91.14, 68.30, 66.76, baseline="static", width=0.25),
        _row("eam-rcr", "EAM RCR", "eam-rcr", 91.01, 68.61, 68.50, baseline="dynamic", width=0.25),
        _row("eam-cgr", "EAM CGR", "eam-cgr", 91.12, 68.71, 67.25, baseline="dynamic", width=0.25),
    ),
    "The rows of the EAM paper's first table at this width, with the two that it lacks: the static network, and the "
    "placebo, which has the four kernels and no attention.",
)

TABLES = {
    table.name: table
    for table in (_BASELINE, _CHANNELS, _SELECTION, _POOLING, _OUTPUT_SIZE, _GROUP_SIZE, _FIX_DY, _TRICKS, _ATTENTION)
}
"""All of them, by name."""
