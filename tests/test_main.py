import json

import pytest

from eamlib.__main__ import main

pytest.importorskip("sklearn")


def test_train_prints_epochs_and_writes_a_record(tmp_path, capsys):
    file = tmp_path / "run.json"
    arguments = ["train", "--conv", "eam-rcr", "--data", "digits", "--epochs", "1", "--batch-size", "256"]
    assert main([*arguments, "--json", str(file)]) == 0
    assert "epoch   1" in capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["configuration"]["conv"] == "eam-rcr" and len(record["history"]) == 1
    before = file.read_text()
    assert main([*arguments, "--json", str(file)]) == 2
    assert "never overwritten" in capsys.readouterr().err and file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilenet_v9"], "name = 'mobilenet_v9' is unknown. Did you mean 'mobilenet_v"),
        (["--conv", "dynamik"], "Did you mean 'dynamic'"),
        (["--data", "digit"], "Did you mean 'digits'"),
        (["--data", "imagenet100"], "--data = 'imagenet100' stays on disk; allowed are"),
        (["--data", "digits", "--epochs", "0"], "epochs = 0"),
        (["--data", "digits", "--width", "0"], "width_mult = 0"),
    ],
)
def test_bad_arguments_end_with_status_2(arguments, message, capsys):
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_divergence_ends_with_status_1(capsys):
    assert main(["train", "--data", "digits", "--epochs", "1", "--learning-rate", "1e30"]) == 1
    assert "the loss is" in capsys.readouterr().err


def test_help_is_for_newcomers(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    assert "cost" in capsys.readouterr().out
