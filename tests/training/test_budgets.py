import pytest
import torch

from eamlib import BUDGETS, announce, budget, data


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv("EAMLIB_BUDGET", "laptop")
    assert budget().name == "laptop"
    assert budget("full").name == "full"


@pytest.mark.parametrize(("cuda", "name"), [(True, "colab"), (False, "smoke")])
def test_unset_follows_the_device(monkeypatch, cuda, name):
    monkeypatch.delenv("EAMLIB_BUDGET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert budget().name == name


def test_every_budget_names_a_data_set():
    assert list(BUDGETS) == ["smoke", "laptop", "colab", "full"]
    assert all(b.dataset in data.DATASETS for b in BUDGETS.values())


def test_unknown_budgets_suggest_the_nearest(monkeypatch):
    monkeypatch.setenv("EAMLIB_BUDGET", "laptp")
    with pytest.raises(ValueError, match="EAMLIB_BUDGET = 'laptp' is unknown. Did you mean 'laptop'.*smoke, laptop"):
        budget()
    with pytest.raises(ValueError, match="budget = 'smok' is unknown. Did you mean 'smoke'"):
        budget("smok")


def test_without_a_gpu_the_reader_hears_of_it_and_where_to_get_one(monkeypatch, capsys):
    monkeypatch.delenv("EAMLIB_BUDGET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    announce()
    said = capsys.readouterr().out
    assert "no GPU" in said and "budget smoke" in said and "Change runtime type" in said


def test_with_a_gpu_its_name_and_the_budget_are_said(monkeypatch, capsys):
    monkeypatch.setenv("EAMLIB_BUDGET", "full")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    announce()
    assert capsys.readouterr().out == "Training takes the Tesla T4, at budget full.\n"
