"""A run that starts from another's adapter: the same outputs at step 0, a new head where labels differ."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import lora
from experiments.config import digest
from experiments.errors import UserError
from experiments.job import address, run_job
from experiments.methods import lookup
from experiments.plan import PlannedRun
from experiments.store import ADAPTER_BEST, ADAPTER_INIT, RunFolder
from experiments.workbench import workbench
from tests.experiments.tasks.glue_release import write_glue
from tests.experiments.test_glue_runs import roberta

__all__ = ["roberta"]

SETTINGS = {"steps": 6, "rank": 2, "alpha": 4, "lr": 0.05, "bias": "lora_only", "task.train": None}
SETTINGS |= {"task.dev": None, "task.test": None}


@pytest.fixture
def run_of(config, roberta, tmp_path):
    """`run_of("rte", init_from=...)`: the configuration of a run."""
    glue = write_glue(tmp_path / "glue_data")

    def build(name, **changes):
        own = {"model.name": str(roberta), "task.name": name, "task.path": str(glue)}
        own |= {"task.holdout": 6}
        return config(**SETTINGS | own | changes)

    return build


@pytest.fixture
def mnli(run_of):
    outcome = run_job(PlannedRun(run_of("mnli"), ()))
    assert outcome.status == "finished", outcome.error
    return outcome.folder


def begun(config):
    """The model as it is before its first step."""
    base = workbench(config.model, config.task).base.model
    method = lookup(config.method)
    model = method.prepare(base, config)
    method.begin(model, config, RunFolder(Path(config.init_from)))
    return model.eval()


def trained(base, folder):
    """The source's model: the base with its adapter as the file says."""
    return lora.load(copy.deepcopy(base), folder / ADAPTER_BEST).eval()


IDS = {"input_ids": torch.tensor([[2, 5, 6, 7, 3, 8, 9, 3], [2, 9, 4, 5, 3, 6, 7, 3]])}


@pytest.mark.parametrize("name", ["rte", "stsb", "mnli"])
@torch.no_grad()
def test_at_step_0_the_outputs_are_the_source_s(run_of, mnli, name):
    run = run_of(name, init_from=str(mnli), seed=7)
    source = trained(workbench(run_of("mnli").model, run_of("mnli").task).base.model, mnli)
    model = begun(run)
    theirs, ours = (one.base_model(**IDS).last_hidden_state for one in (source, model))
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    fresh = lookup("lora").prepare(workbench(run.model, run.task).base.model, run).eval()
    assert not torch.allclose(fresh.base_model(**IDS).last_hidden_state, theirs, atol=1e-4)
    if name == "mnli":
        torch.testing.assert_close(model(**IDS).logits, source(**IDS).logits, atol=0, rtol=0)
    else:  # the head is the seed's own, as without a source
        assert torch.equal(model.classifier.dense.weight, fresh.classifier.dense.weight)
        assert model.classifier.out_proj.weight.shape[0] == {"rte": 2, "stsb": 1}[name]


def test_a_run_goes_on_from_there(run_of, mnli):
    outcome = run_job(PlannedRun(run_of("rte", init_from=str(mnli)), ()))
    assert outcome.status == "finished", outcome.error
    assert "-qv-r2-from_mnli-" in outcome.name
    source, start = lora.read(mnli / ADAPTER_BEST), lora.read(outcome.folder / ADAPTER_INIT)
    for place, pair in source.factors.items():
        assert torch.equal(start.factors[place].A, pair.A)
        assert torch.equal(start.factors[place].B, pair.B)
    biases = [name for name in source.extra if "classifier" not in name]
    assert biases
    assert all(torch.equal(start.extra[name], source.extra[name]) for name in biases)


def test_the_address_is_of_the_adapter_s_content(run_of, mnli, tmp_path):
    """Not of where it lies; and without one it is what it was."""
    plain, started = run_of("rte"), run_of("rte", init_from=str(mnli))
    assert "init_from" not in address(plain).scientific
    assert len(address(started).scientific["init_from"]) == 16
    before = address(started).folder.path
    assert digest(address(started).scientific) != digest(address(plain).scientific)
    moved = mnli.rename(tmp_path / "mnli-moved")
    assert address(run_of("rte", init_from=str(moved))).folder.path == before
    (moved / ADAPTER_BEST).write_bytes(b"another")
    assert address(run_of("rte", init_from=str(moved))).folder.path != before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rank": 4}, "has rank=2, this run rank=4; an adapter keeps them: give rank=2"),
        ({"rank": {"q": 2, "v": 3}}, "has rank=2, this run rank={'q': 2, 'v': 3}"),
        ({"targets": "q"}, "has targets=qv, this run targets=q;"),
        ({"alpha": 8, "bias": "none"}, "has alpha=4.0 bias=lora_only, this run alpha=8.0 bias=none"),
        ({"dora": True}, "has dora=False, this run dora=True"),
        ({"init": "pissa"}, "has init=gaussian, this run init=pissa"),
        (
            {"method": "full"},
            "init_from has no meaning for method=full; lora, lora_prefix, truncated take it",
        ),
        ({"model.name": "embedded"}, "adapts another model, .*; give the same model"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_trains(run_of, mnli, changes, says):
    with pytest.raises(UserError, match=says) as caught:
        run_of("rte", init_from=str(mnli), **changes)
    assert "\n" not in str(caught.value)


def test_what_is_no_run_is_told(run_of, mnli, tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match="is no finished run of method=lora; give the folder of one"):
            run_of("rte", init_from=str(place))
    (mnli / ADAPTER_BEST).unlink()
    with pytest.raises(UserError, match="is no finished run of method=lora"):
        run_of("rte", init_from=str(mnli))
