import json
from dataclasses import replace

import pytest

from eamlib import data
from eamlib.data import imagenet
from eamlib.papers.accuracy import TABLES
from eamlib.papers.training_runs import AUGMENT_FROM, SIZES, Plan, Unit, check, plan, shard
from eamlib.training.recipe import Recipe

EVERY_ROW = [row for table in TABLES.values() for row in table.rows]
PLAN = Plan("smoke", "digits", 6)


def test_names_are_readable_and_no_two_units_share_one():
    assert PLAN.unit(TABLES["channels"].row("n2"), 1).name == "mobilenet_v1-x1-eam-rcr-n2-e6-seed1"
    assert PLAN.unit(TABLES["pooling"].row("max"), 0).name == "mobilenet_v1-x1-eam-rcr-maxpool-e6-seed0"
    assert PLAN.unit(TABLES["output-size"].row("p3"), 0).name == "mobilenet_v1-x1-eam-rcr-p3-e6-seed0"
    assert PLAN.unit(TABLES["g_t"].row("g2"), 0).name == "dy_mobile-x1-dynet-g2-e6-seed0"
    assert PLAN.unit(TABLES["g_t"].row("g6"), 0).name == "dy_mobile-x1-dynet-e6-seed0"
    assert PLAN.unit(TABLES["tricks"].row("no-momentum"), 0).name == "mobilenet_v1-x0.25-static-no_momentum-e6-seed0"
    assert PLAN.unit(TABLES["tricks"].row("ema"), 0).name == "mobilenet_v1-x0.25-static-ema_0.99-e6-seed0"
    units = {*PLAN.units(EVERY_ROW), *Plan("smoke", "digits", 6, width=0.25).units(TABLES["pooling"].rows)}
    assert len({unit.name for unit in units}) == len(units)


def test_a_unit_is_its_configuration():
    for unit in PLAN.units(EVERY_ROW):
        assert Unit.of(unit.configuration) == unit


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_the_sizes_are_those_of_the_data(name):
    try:
        train, test = (data.load(name, train=part, download=False) for part in (True, False))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert SIZES[name] == (len(train), len(test), len(train.classes))


def test_every_set_has_its_sizes():
    assert SIZES.keys() == set(data.DATASETS) == data.INPUT_SIZES.keys() == data.STEM_STRIDES.keys()


def test_imagenet100_is_trained_as_the_papers_images_are():
    unit = Plan("full", "imagenet100", 200).unit(TABLES["pooling"].row("avg"), 0)
    assert unit.configuration["stem_stride"] == 2 and unit.configuration["augment"] == imagenet.AUGMENTATION
    assert unit.recipe["augment"] is None and unit.build().classifier[-1].out_features == 100
    assert Unit.of(json.loads(json.dumps(unit.configuration))) == unit


def test_images_on_disk_are_always_augmented():
    with pytest.raises(
        ValueError, match="augment_otherwise-e5-seed0 changes the augmentation, and that of imagenet100"
    ):
        check(Plan("full", "imagenet100", 5).units(TABLES["tricks"].rows))


def test_a_precision_is_named_where_it_is_not_float32():
    plain, bf16 = (replace(PLAN, precision=precision) for precision in ("float32", "bf16"))
    row = TABLES["channels"].row("n2")
    assert bf16.unit(row, 1).name == "mobilenet_v1-x1-eam-rcr-n2-precision_bf16-e6-seed1"
    assert bf16.unit(row, 1).configuration == plain.unit(row, 1).configuration | {
        "precision": "bf16",
        "changes": {"precision": "bf16"},
    }
    assert (
        bf16.unit(row, 1).recipe["precision"] == "bf16" and Unit.of(bf16.unit(row, 1).configuration).precision == "bf16"
    )
    assert bf16.label == "digits-smoke-bf16"


def test_a_plain_unit_is_what_its_records_say():
    assert PLAN.unit(TABLES["pooling"].row("max"), 1).configuration == {
        "model": "mobilenet_v1",
        "conv": "eam-rcr",
        "width_mult": 1.0,
        "options": {"pool": "max"},
        "stem_stride": 1,
        "data": "digits",
        "epochs": 6,
        "batch_size": 128,
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
        "temperature": 30.0,
        "augment": None,
        "seed": 1,
    }


def test_rows_with_a_kernel_attention_have_a_temperature():
    temperatures = {row.conv: PLAN.unit(row, 0).configuration["temperature"] for row in EVERY_ROW if not row.changes}
    assert {conv for conv, temperature in temperatures.items() if temperature is None} == {
        "static",
        "dynet",
        "dynamic-uniform",
    }
    assert set(temperatures.values()) == {None, 30.0}


def test_a_change_reaches_the_recipe():
    constant = PLAN.unit(TABLES["tricks"].row("constant"), 0)
    assert Recipe(**constant.recipe).schedule == "constant"
    assert constant.configuration["changes"] == {"schedule": "constant"}
    usual = PLAN.unit(TABLES["tricks"].row("all"), 0)
    assert constant.recipe == usual.recipe | {"schedule": "constant"} and "changes" not in usual.configuration


@pytest.mark.parametrize(("epochs", "on"), [(AUGMENT_FROM - 1, False), (AUGMENT_FROM, True)])
def test_long_runs_are_augmented_or_otherwise(epochs, on):
    usual, otherwise = (
        Plan("smoke", "digits", epochs).unit(TABLES["tricks"].row(name), 0) for name in ("all", "augment")
    )
    assert (usual.recipe["augment"] is not None, otherwise.recipe["augment"] is not None) == (on, not on)
    assert usual.configuration["augment"] == (data.AUGMENTATIONS["digits"] if on else None)


@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_shards_partition_the_units(n):
    units = PLAN.units(EVERY_ROW)
    shares = [shard(units, f"{i}/{n}") for i in range(1, n + 1)]
    assert sorted(unit.name for share in shares for unit in share) == sorted(unit.name for unit in units)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("part", ["0/4", "5/4", "1/0", "1", "a/b", "-1/4", "1/4/2"])
def test_a_shard_that_is_none_is_named(part):
    with pytest.raises(ValueError, match=f"--shard = '{part}' must be i/n"):
        shard([], part)


def test_seeds_come_one_after_another():
    seeds = [unit.seed for unit in PLAN.units(TABLES["pooling"].rows)]
    assert seeds == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_budget_decides_what_is_not_said(monkeypatch):
    monkeypatch.setenv("EAMLIB_BUDGET", "smoke")
    assert plan() == Plan("smoke", "digits", 6)
    assert plan("laptop", epochs=2, seeds=5, width=0.25) == Plan("laptop", "fashion_mnist", 2, 5, 0.25)
    assert plan().label == "digits-smoke"
    assert plan("laptop", epochs=2, width=0.25).label == "fashion_mnist-laptop-x0.25-e2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget_name": "smok"}, "budget = 'smok' is unknown. Did you mean 'smoke'"),
        ({"data_name": "digit"}, "--data = 'digit' is unknown. Did you mean 'digits'"),
        ({"precision": "half"}, "--precision = 'half' is unknown. Allowed: float32, bf16, fp16"),
        ({"epochs": 0}, "--epochs = 0 must be"),
        ({"seeds": 0}, "--seeds = 0 must be"),
        ({"width": 0.0}, "--width = 0.0 must be"),
    ],
)
def test_bad_plans_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"budget_name": "smoke"} | arguments)


def test_a_width_that_a_network_has_not_is_named():
    with pytest.raises(ValueError, match="dy_shuffle-x0.3-dynet cannot be built: .*0.3"):
        check(Plan("smoke", "digits", 6, width=0.3).units([TABLES["fix-dy"].row("dy-shuffle")]))
    check(PLAN.units(EVERY_ROW))
