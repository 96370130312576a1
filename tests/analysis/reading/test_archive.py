"""An archive holds what tables and the chosen figure need, and tells when it is not as it was made."""

from __future__ import annotations

import errno
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
from safetensors.numpy import load, save

from analysis import phi
from analysis.claims import judge
from analysis.commands import main
from analysis.errors import AnalysisError
from analysis.reading.archive import archive
from analysis.reading.manifest import MANIFEST, half_precision, metadata
from analysis.reading.needs import MissingRunsError, Need
from analysis.reading.predictions import PACKED, read_predictions
from analysis.reading.study import Study
from analysis.registry import COMMANDS
from analysis.selection import Selection
from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, HISTORY, PREDICTIONS, RUN, RunFolder
from tests.analysis.claims.builder import STUDY, TRUE, write_base, write_study

FIG3 = {"fig3": COMMANDS["fig3"]}
LEFT_OUT = {"a-failed-run": "failed: out of memory", "half-written": "unfinished: no run.json"}
CELLS = {"q": (8,), "qv": (1, 8, 64), "qkvo": (2,)}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The root of a study of two tasks and seeds."""
    root = tmp_path_factory.mktemp("source")
    base = write_base(root / "base")
    for task in ("sql", "nli"):
        write_study(root / "outputs", base, TRUE, seeds=(0, 1), cells=CELLS, task=task)
    for run in (root / "outputs" / STUDY).iterdir():
        lines = [{"step": 10, "loss": 0.5, "steps_per_second": 7.5}, {"step": 10, "dev/accuracy": 0.25}]
        (run / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, reason in LEFT_OUT.items():
        folder = RunFolder(root / "outputs" / STUDY / name)
        folder.path.mkdir()
        if reason.startswith("failed"):
            folder.fail(reason.removeprefix("failed: "), "", "")
    return root / "outputs"


@pytest.fixture(scope="module")
def made(source, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    archive(Study.open(STUDY, source), root, FIG3)
    return root


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """An archive to damage."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("command", ["table6", "fig3"])
def test_results_are_those_of_the_study(source, made, tmp_path, command, capsys):
    results = []
    for root in (source, made):
        out = tmp_path / root.parent.name
        options = ["--study", STUDY, "--root", str(root), "--out", str(out)]
        tasks = [["--task", task] for task in ("sql", "nli")] if command == "fig3" else [[]]
        for task in tasks:
            assert main([command, *options, *task]) == 0
        results.append(files(out))
    assert results[0] == results[1]
    assert any(name.endswith(".csv") for name in results[0])


def test_only_the_runs_of_the_figure_keep_their_adapters(source, made):
    runs = Study.open(STUDY, made).runs
    assert len(runs) == len(Study.open(STUDY, source).runs) == 20
    kept = {run.id for run in runs if (run.path / ADAPTER).exists()}
    assert {run.rpartition("-")[0] for run in kept} == {
        f"{task}-qv-r{rank}-seed0" for task in ("sql", "nli") for rank in (8, 64)
    }
    for run in runs:
        names = {path.name for path in run.path.iterdir()}
        assert names - {ADAPTER} == {RUN, PACKED, HISTORY}
        assert set(run.left_out) == {ADAPTER, ADAPTER_BEST, ADAPTER_INIT} - names


def test_what_is_kept_of_a_run(source, made):
    run = Study.open(STUDY, made).run(task="sql", targets="q", rank=8, seed=1)
    whole = source / STUDY / run.id
    assert read_predictions(run.path).ids == read_predictions(whole).ids
    assert (read_predictions(run.path).scores == read_predictions(whole).scores).all()
    first = json.loads(gzip.decompress((run.path / PACKED).read_bytes()).splitlines()[0])
    assert list(first) == ["checkpoint", "split", "id", "correct"]
    history = [json.loads(line) for line in (run.path / HISTORY).read_text().splitlines()]
    assert history == [{"step": 10, "loss": 0.5}, {"step": 10, "dev/accuracy": 0.25}]
    record = json.loads((run.path / RUN).read_text())
    del record["archive"]
    assert record == json.loads((whole / RUN).read_text())


def test_an_adapter_that_is_left_out_has_its_shapes_and_nothing_else(source, made):
    run = Study.open(STUDY, made).run(task="sql", targets="qkvo", rank=2, seed=0)
    whole = Study.open(STUDY, source).run(task="sql", targets="qkvo", rank=2, seed=0).adapter()
    kept = run.adapter()
    assert [*kept] == [*whole]
    assert [kept.shape(*key) for key in kept] == [whole.shape(*key) for key in whole]
    assert (kept.ranks, kept.architecture) == (whole.ranks, whole.architecture)
    with pytest.raises(
        AnalysisError, match=rf"{run.id}: an archive without adapter\.safetensors; read the study"
    ):
        kept[0, "q"]
    with pytest.raises(AnalysisError, match=r"an archive without adapter_init\.safetensors"):
        run.initial()
    with pytest.raises(AnalysisError, match="only method=full"):
        run.deltas()


def test_a_figure_without_its_adapters_is_one_line(made, tmp_path, capsys):
    arguments = ["--study", STUDY, "--root", str(made), "--out", str(tmp_path), "--task", "sql"]
    assert main(["fig4", *arguments]) == 1
    *left_out, error = capsys.readouterr().err.splitlines()
    assert left_out == [f"left out: {name}: {reason}" for name, reason in LEFT_OUT.items()]
    assert "an archive without adapter.safetensors" in error


@pytest.fixture(scope="module")
def rounded(tmp_path_factory) -> tuple[Path, Path, Path]:
    """The roots of a study and of its archive in float16, and the base model."""
    folder = tmp_path_factory.mktemp("rounded")
    base = write_base(folder / "base")
    cells = {"qv": (4, 8, 64), "q": (8,)}
    write_study(folder / "outputs", base, TRUE, seeds=(0, 1, 2), cells=cells)
    made = archive(Study.open(STUDY, folder / "outputs"), folder / "archive", {}, "qv")
    assert (made.with_adapters, made.rounded) == (9, 9)
    return folder / "outputs", folder / "archive", base


def test_a_run_without_targets_has_no_adapter_to_round(tmp_path):
    """As the base model's and that of biases alone."""
    base = write_base(tmp_path / "base")
    write_study(tmp_path / "outputs", base, TRUE, seeds=(0, 1), cells={"qv": (8,)})
    file = sorted((tmp_path / "outputs" / STUDY).glob("*/run.json"))[0]
    record = json.loads(file.read_text())
    record["config"]["method"] = "none"
    del record["config"]["targets"]
    file.write_text(json.dumps(record))
    for tensors in file.parent.glob("*.safetensors"):
        tensors.unlink()
    made = archive(Study.open(STUDY, tmp_path / "outputs"), tmp_path / "archive", {}, "qv")
    assert (made.runs, made.with_adapters, made.rounded) == (2, 1, 1)


def test_the_geometry_of_every_seed_is_that_of_the_study_in_every_printed_digit(rounded):
    found = []
    for root in rounded[:2]:
        selection = Selection.of(Study.open(STUDY, root), base=str(rounded[2]))
        found.append({one.claim: one.cells for one in judge(selection) if one.section != "7.1"})
    for claim, cells in found[0].items():
        assert found[1][claim] == cells
    assert found[0]["top-shared"]["seeds"] == found[0]["af-falls"]["seeds"] == "3"


def test_tables_and_figures_of_the_rounded_archive_differ_in_the_fourth_digit(rounded, tmp_path):
    for command, quantity in (("fig4", "phi"), ("table7", "value")):
        frames = []
        for root in rounded[:2]:
            out = tmp_path / command / root.name
            options = ["--study", STUDY, "--root", str(root), "--out", str(out), "--base", str(rounded[2])]
            assert main([command, *options]) == 0
            frames.append(pandas.read_csv(out / f"{command}.csv"))
        if command == "table7":  # of single directions no more is known than their gaps allow
            frames = [frame[frame["k"].isna()] for frame in frames]
        ours, theirs = (frame[quantity].to_numpy() for frame in frames)
        assert len(ours) > 50
        assert not (ours == theirs).all()
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3, nan_ok=True)


def test_half_precision_keeps_what_trained_adapters_print():
    """The committed adapters of seed 0, r = 8 and r = 64, against themselves: phi to three decimals."""
    runs = Path(__file__).resolve().parents[3] / "results" / "embedded" / "runs" / "embedded"
    for task in ("sql", "nli"):
        grids = []
        files = [next(runs.glob(f"{task}-embedded-qv-r{rank}-lr*-seed0-*")) / ADAPTER for rank in (8, 64)]
        for change in (bytes, lambda data: half_precision(data, "run")):
            small, large = (load(change(file.read_bytes())) for file in files)
            names = sorted(name for name in small if name.endswith(".A"))
            grids.append(np.stack([phi(small[name], large[name]) for name in names]))
        assert len(names) == 8
        assert 0 < np.abs(grids[0] - grids[1]).max() < 2e-4


def test_what_does_not_fit_float16_is_refused(rounded):
    file = next((rounded[0] / STUDY).glob("sql-qv-r8-seed0-*")) / ADAPTER
    tensors, told = load(file.read_bytes()), metadata(file.read_bytes())
    for scale in (1e6, 1e-9):
        tensors["layers.0.q.A"] = scale * load(file.read_bytes())["layers.0.q.A"]
        with pytest.raises(
            AnalysisError, match=r"some-run: layers\.0\.q\.A does not fit float16; archive it as"
        ):
            half_precision(save(tensors, told), "some-run")


def test_a_rounded_adapter_says_so_and_is_read_as_any(rounded, tmp_path):
    run = Study.open(STUDY, rounded[1]).run(targets="qv", rank=64, seed=1)
    assert run.record["archive"]["rounded"] == [ADAPTER]
    whole = Study.open(STUDY, rounded[0]).run(targets="qv", rank=64, seed=1)
    assert (run.path / ADAPTER).stat().st_size < 0.55 * (whole.path / ADAPTER).stat().st_size
    assert run.adapter().ranks == whole.adapter().ranks
    again = archive(Study.open(STUDY, rounded[1]), tmp_path, {}, "qv")
    assert again.rounded == 9
    assert (tmp_path / STUDY / run.id / ADAPTER).read_bytes() == (run.path / ADAPTER).read_bytes()


def test_costs_go_along(source, tmp_path):
    """They are of the study, and stand where the analysis looks for them."""
    root = tmp_path / "outputs"
    shutil.copytree(source, root)
    (root / STUDY / "costs.json").write_text("{}")
    size = archive(Study.open(STUDY, root), tmp_path / "slim", FIG3).size
    made = tmp_path / "slim" / STUDY
    assert (made / "costs.json").read_bytes() == b"{}"
    assert size == sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    assert not any("costs" in name for name, _ in Study.open(STUDY, tmp_path / "slim").left_out)


def test_an_archive_again_is_the_same_to_the_byte(source, made, tmp_path):
    again = archive(Study.open(STUDY, source), tmp_path, FIG3)
    assert files(tmp_path) == files(made)
    assert again.size == sum(map(len, files(made).values()))
    assert (again.runs, again.with_adapters) == (20, 4)
    # In the place of the earlier one; and an archive can be made of an archive.
    none = archive(Study.open(STUDY, tmp_path), tmp_path, {})
    assert (none.runs, none.with_adapters) == (20, 0)
    assert not [name for name in files(tmp_path) if name.endswith("safetensors")]
    assert Study.open(STUDY, tmp_path).run(task="sql", rank=64, seed=0).adapter().layers == (0, 1)


@pytest.mark.parametrize("name", [PACKED, HISTORY, RUN, ADAPTER])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_run_is_named_and_left_out(copy, name, how):
    [run] = (copy / STUDY).glob("sql-qv-r8-seed0-*")
    data = (run / name).read_bytes()
    if how == "changed":
        (run / name).write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    else:
        (run / name).unlink()
    study = Study.open(STUDY, copy)
    assert [name for name, _ in study.left_out] == [*LEFT_OUT, run.name]
    assert dict(study.left_out)[run.name].startswith(f"the archive is damaged: {name} ")
    assert len(study.runs) == 19


def test_a_run_that_may_not_be_read_is_named_and_left_out(copy, monkeypatch):
    """As for a user without permission, whoever runs the test."""
    [run] = (copy / STUDY).glob("sql-qv-r8-seed0-*")
    read = Path.read_bytes

    def refusing(path):
        if run in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    study = Study.open(STUDY, copy)
    assert (
        dict(study.left_out)[run.name] == f"the archive is damaged: {RUN} cannot be read: Permission denied"
    )
    assert len(study.runs) == 19


def test_runs_that_come_or_go_are_named(copy):
    [gone] = (copy / STUDY).glob("sql-qv-r8-seed0-*")
    gone.rename(gone.with_name("other"))
    assert dict(Study.open(STUDY, copy).left_out) == LEFT_OUT | {
        gone.name: f"the archive is damaged: {RUN} is missing",
        "other": f"not of this archive: {MANIFEST} does not name it",
    }


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "not a JSON file"),
        ('{"format": 2}', "of format 2; this code reads format 1"),
        ('{"format": 1, "runs": [1]}', "is damaged: AttributeError"),
        ('{"format": 1, "runs": {}}', "is damaged: KeyError 'left_out'"),
    ],
)
def test_a_damaged_manifest_is_named(copy, content, error):
    (copy / STUDY / MANIFEST).write_text(content)
    with pytest.raises(AnalysisError, match=rf"archive\.json.* {error}"):
        Study.open(STUDY, copy)


def test_a_study_is_never_replaced_by_its_archive(source):
    before = files(source)
    with pytest.raises(
        AnalysisError, match="is no archive and stays as it is; give another folder with --out"
    ):
        archive(Study.open(STUDY, source), source, {})
    assert files(source) == before


def test_runs_that_an_archive_does_not_name_are_never_deleted(source, copy):
    new = copy / STUDY / "trained-here"
    shutil.copytree(next((source / STUDY).glob("sql-qv-r8-seed0-*")), new)
    with pytest.raises(AnalysisError, match=r"holds trained-here, which archive\.json does not name"):
        archive(Study.open(STUDY, source), copy, {})
    assert (new / ADAPTER).is_file()


def test_what_the_study_left_out_stays_named(source, made):
    for root in (source, made):
        assert dict(Study.open(STUDY, root).left_out) == LEFT_OUT


def test_what_cannot_be_archived(copy, source, tmp_path):
    shutil.copytree(source, tmp_path / "one-seed")
    for run in (tmp_path / "one-seed" / STUDY).glob("*-seed[1-9]*"):
        shutil.rmtree(run)
    with pytest.raises(AnalysisError, match="lacks"):
        archive(Study.open(STUDY, tmp_path / "one-seed"), tmp_path / "out", {"fig4": COMMANDS["fig4"]})
    shutil.copytree(source, tmp_path / "damaged")
    [run] = (tmp_path / "damaged" / STUDY).glob("sql-qv-r8-seed0-*")
    (run / PREDICTIONS).write_text("{")
    with pytest.raises(AnalysisError, match=rf"{run.name}: predictions\.jsonl is damaged"):
        archive(Study.open(STUDY, tmp_path / "damaged"), tmp_path / "out", {})
    assert not (tmp_path / "out" / STUDY).exists()
    empty = Study(STUDY, source, (), ())
    with pytest.raises(AnalysisError, match="has no finished run to archive"):
        archive(empty, tmp_path / "out", {})


def test_the_command(source, tmp_path, capsys):
    place = ["--study", STUDY, "--root", str(source), "--out", str(tmp_path)]
    assert main(["archive", *place, "--adapters", "none", "--rounded", "none"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / STUDY}: 20 runs, 0 with adapters (0 in float16), 0.2 MB\n"
    assert main(["archive", *place, "--adapters", "table6"]) == 2
    assert "'table6' is unknown; valid are none, fig3, fig4" in capsys.readouterr().err
    assert main(["archive", *place[:-2]]) == 2
    (tmp_path / "file").write_text("no folder")
    assert main(["archive", *place[:-1], str(tmp_path / "file"), "--adapters", "none"]) == 1
    assert capsys.readouterr().err.endswith("cannot be copied: Not a directory\n")


def test_missing_runs_are_to_be_trained_beside_the_whole_study(made):
    with pytest.raises(MissingRunsError, match="an archive takes no run") as error:
        Study.open(STUDY, made).require([Need("qv", 16, 0)], task="sql")
    assert all("root=" not in command for command in error.value.commands)
