"""A job finds its address, keeps what is finished, and lets nothing but Ctrl-C out."""

from __future__ import annotations

import json

import pytest

import experiments.job as job
from experiments import store
from experiments.errors import UserError
from experiments.plan import PlannedRun
from experiments.store import RunFolder


def run_job(config, sweep=None):
    return job.run_job(PlannedRun(config, ("rank=2",)), sweep)


@pytest.fixture
def trained(monkeypatch, bench):
    """Count trainings; the model is the tiny one."""
    desk = bench("sql")
    calls = []

    def workbench(model, task):
        calls.append((model, task))
        return desk

    monkeypatch.setattr("experiments.workbench.workbench", workbench)
    monkeypatch.setattr(job, "model_identity", lambda config: "tiny")
    return calls


def test_run_and_its_record(config, trained):
    outcome = run_job(config())
    assert outcome.status == "finished", outcome.error
    folder = RunFolder(config().root / "test" / outcome.name)
    assert folder.path == outcome.folder
    record = folder.read()
    assert record == outcome.record
    assert record["metric"] == "logical_form_accuracy"
    assert record["overrides"] == ["rank=2"]
    assert set(record["metrics"]["last"]) == {"step", "dev", "test"}
    assert record["config"]["rank"] == {"q": 2, "v": 2}
    assert record["parameters"]["trainable"] == 512
    assert record["versions"]["torch"]
    assert record["precision"] == "float32"
    assert record["timing"]["steps_per_second"] > 0
    for name in (store.ADAPTER, store.ADAPTER_INIT, store.ADAPTER_BEST, store.PREDICTIONS, store.HISTORY):
        assert folder.file(name).stat().st_size > 0


def test_finished_run_is_kept_and_force_repeats_it(config, trained):
    first = run_job(config())
    again = run_job(config())
    assert (again.status, again.record) == ("kept", first.record)
    assert len(trained) == 1
    forced = run_job(config(force=True))
    assert forced.status == "finished"
    assert forced.record["metrics"] == first.record["metrics"]
    assert len(trained) == 2


def test_a_run_finished_or_failed_in_a_sweep_is_not_trained_again_in_it(config, trained, monkeypatch):
    """By the name of the sweep, whatever the clocks of machines and disks say."""
    assert run_job(config(force=True), 1.5).status == "finished"
    assert run_job(config(force=True), 1.5).status == "finished"
    assert len(trained) == 1
    assert run_job(config(force=True), 2.5).status == "finished"
    assert len(trained) == 2
    with monkeypatch.context() as patched:
        patched.setattr("experiments.trainer.train", lambda *_: (_ for _ in ()).throw(UserError("no")))
        assert run_job(config(seed=1), 1.5).error == "no"
    assert (run_job(config(seed=1), 1.5).status, run_job(config(seed=1), 1.5).error) == ("failed", "no")
    assert len(trained) == 3
    assert run_job(config(seed=1), 2.5).status == "finished"


def test_processes_of_other_sweeps_that_died_over_a_run_do_not_count(config, trained):
    folder = job.address(config()).folder
    with folder.lock():
        for _ in range(job.TRIES):
            folder.begin(1.5)
    given_up = run_job(config(), 1.5)
    assert given_up.status == "busy"
    assert "is given up: 2 processes have died over it" in given_up.error
    assert run_job(config(), 2.5).status == "finished"


def test_jobs_of_a_launcher_in_other_processes_are_of_the_command_s_sweep(config, trained, monkeypatch):
    monkeypatch.setenv(job.SWEEP, "1.5")
    assert run_job(config()).record["sweep"] == 1.5


def test_a_run_of_a_renamed_model_folder_is_the_same_run(config, trained):
    """The same weights under another name: kept, and under the folder that it has."""
    first = run_job(config())
    again = run_job(config(**{"model.name": "renamed"}))
    assert (again.status, again.folder, again.record) == ("kept", first.folder, first.record)
    forced = run_job(config(force=True, **{"model.name": "renamed"}))
    assert (forced.status, forced.folder) == ("finished", first.folder)
    assert [run.id for run in store.runs(config().root, "test")] == [first.name]


def test_a_cpu_computes_in_bfloat16_where_it_is_asked_to(config, trained):
    """Whether or not it has units for it; the predictions are those of rounded matrix products."""
    exact, auto, rounded = (run_job(config(precision=name)) for name in ("float32", "auto", "bfloat16"))
    assert (auto.status, auto.folder) == ("kept", exact.folder)
    assert rounded.status == "finished", rounded.error
    assert rounded.record["precision"] == "bfloat16"
    files = [RunFolder(config().root / "test" / run.name).file(store.ADAPTER) for run in (exact, rounded)]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_how_it_ended_is_one_line(config, trained):
    outcome = run_job(config())
    dev, test = (
        outcome.record["metrics"]["last"][split]["logical_form_accuracy"] for split in ("dev", "test")
    )
    line = f"finished  1/2  {outcome.name}  dev {100 * dev:.1f}%  test {100 * test:.1f}%  "
    assert outcome.line("1/2").startswith(line)
    assert outcome.score == dev
    failed = run_job(config(device="cuda:7"))
    assert failed.line().startswith(f"FAILED    {failed.name}: device=cuda:7 is not available")
    assert failed.score is None


def test_the_address_is_where_the_run_will_be(config, trained):
    place = job.address(config())
    assert not place.folder.path.exists()
    assert run_job(config()).folder == place.folder.path
    assert (place.device, place.precision) == ("cpu", "float32")


def test_unfinished_run_is_done_again_from_scratch(config, trained):
    folder = RunFolder(config().root / "test" / run_job(config()).name)
    whole = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    folder.file(store.RUN).unlink()
    folder.file(store.ADAPTER).write_bytes(b"half")
    folder.file(store.HISTORY).write_text('{"step": 1')
    assert run_job(config()).status == "finished"
    assert folder.file(store.ADAPTER).read_bytes() == whole[store.ADAPTER]
    assert folder.file(store.PREDICTIONS).read_bytes() == whole[store.PREDICTIONS]


def test_failure_stays_in_its_run(config, trained, monkeypatch):
    def broken(*_):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("experiments.trainer.train", broken)
    outcome = run_job(config())
    assert (outcome.status, outcome.error) == ("failed", "RuntimeError: out of luck")
    folder = RunFolder(config().root / "test" / outcome.name)
    failure = json.loads(folder.file(store.FAILURE).read_text())
    assert failure["command"] == "python run.py rank=2"
    assert any("broken" in line for line in failure["traceback"])
    assert folder.read() is None
    monkeypatch.undo()


def test_failed_run_that_is_repeated_leaves_no_failure_behind(config, trained, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("experiments.trainer.train", lambda *_: (_ for _ in ()).throw(UserError("no")))
        outcome = run_job(config())
        assert outcome.error == "no"
    assert run_job(config()).status == "finished"
    folder = RunFolder(config().root / "test" / outcome.name)
    assert not folder.file(store.FAILURE).exists()


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt()])
def test_repeat_that_does_not_finish_leaves_the_finished_run_whole(config, trained, monkeypatch, error):
    first = run_job(config())
    folder = RunFolder(config().root / "test" / first.name)
    adapter = folder.file(store.ADAPTER).read_bytes()
    monkeypatch.setattr("experiments.trainer.train", lambda *_: (_ for _ in ()).throw(error))
    if isinstance(error, UserError):
        assert run_job(config(force=True)).status == "failed"
    else:
        with pytest.raises(KeyboardInterrupt):
            run_job(config(force=True))
    assert folder.read() == first.record
    assert folder.file(store.ADAPTER).read_bytes() == adapter


def test_ctrl_c_gets_out_and_leaves_the_run_unfinished(config, trained, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.trainer.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_job(config())
    [folder] = store.runs(config().root, "test")
    assert folder.read() is None


def test_run_of_another_process_is_left_alone(config, trained):
    outcome = run_job(config())
    folder = RunFolder(config().root / "test" / outcome.name)
    folder.file(store.RUN).unlink()
    with folder.lock():
        busy = run_job(config())
    assert busy.status == "busy"
    assert "another process" in busy.error


def test_unknown_device_is_one_line(config, trained):
    outcome = run_job(config(device="cuda:7"))
    assert outcome.status == "failed"
    assert outcome.error.startswith("device=cuda:7 is not available on this machine; valid are auto, cpu")


def test_method_none_evaluates_the_base_model(config, trained):
    outcome = run_job(config(method="none"))
    assert outcome.status == "finished", outcome.error
    assert outcome.record["parameters"]["trainable"] == 0
    assert outcome.record["metrics"]["last"]["step"] == 0
    assert "lr" not in outcome.record["config"]
    assert run_job(config(method="none", lr=0.5, rank=4)).status == "kept"
