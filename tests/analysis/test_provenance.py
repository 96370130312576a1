"""What results say of where they are from: the files' names, the record, and sentences in captions."""

import json
import shutil

from analysis.provenance import full_sentence, lora_sentence, provenance_of, weight_sentence
from analysis.reading.run import Run
from analysis.reading.study import Study
from analysis.selection import Selection
from tests.analysis.planted import STUDY, of_the_hub, planted, two_rates, write_run, write_study

__all__ = ["planted", "two_rates"]


def test_captions_tell_of_full_fine_tuning(planted, two_rates, tmp_path):
    selection = Selection.of(two_rates, choice={"lr": 0.02, "full.lr": 1e-5})
    lora = list(selection.every_run((4,)).values())
    assert full_sentence(selection, selection.full_runs(), lora) == (
        "Full fine-tuning: 2 runs (seed 0, 1), lr 1e-05 (LoRA 0.02)."
    )
    assert full_sentence(selection, [], lora) == "Full fine-tuning: no runs."
    write_run(tmp_path / "k", planted.base, None, 3, letters=("k",))
    other = Selection.of(Study.open(STUDY, tmp_path / "k"))
    assert full_sentence(other, other.full_runs(), lora) == (
        "Full fine-tuning: 1 run (seed 3); no dW of W_q, W_v is kept."
    )


def test_captions_name_what_else_the_runs_differ_in(planted, tmp_path):
    write_run(tmp_path, planted.base, 8, 0, lr=0.1)
    write_run(tmp_path, planted.base, 64, 0, lr=0.2)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    text = lora_sentence(selection, list(selection.runs((8, 64), (0,)).values()))
    assert text.endswith("The runs differ in lr (0.1, 0.2).")
    assert "model base," in text  # not the folder that it lies in


def test_a_branch_of_the_hub_may_have_moved(planted, tmp_path):
    of_the_hub(write_run(tmp_path, planted.base, 8, 0), "main")
    selection = Selection.of(Study.open(STUDY, tmp_path))
    assert "from tiny as it is now, unverified" in weight_sentence(selection, selection.available())


def test_a_folder_in_the_place_of_a_hub_model_is_believed_and_that_is_said(planted, tmp_path):
    of_the_hub(write_run(tmp_path, planted.base, 8, 0), "a" * 40)
    study = Study.open(STUDY, tmp_path)
    given, plain = Selection.of(study, base=str(planted.base)), Selection.of(study)
    runs = given.available()
    assert weight_sentence(plain, runs) == ""
    assert "from the folder base, unverified: of tiny (aaaaaaaaaaaa)" in weight_sentence(given, runs)
    assert provenance_of(given, runs, weights=True)["W"] == {"base": str(planted.base), "verified": False}
    assert provenance_of(plain, runs, weights=True)["W"] == {"base": None, "verified": True}
    assert weight_sentence(planted.select(base=str(planted.base)), planted.select().available()) == ""


def test_what_reads_dequantised_weights_says_so(planted, tmp_path):
    """In captions and provenance of Table 7, Figure 8 and the spectra, told by run.json or by config.json."""
    from analysis.figures import fig8
    from analysis.tables import spectra, table7

    base = tmp_path / "base"
    shutil.copytree(planted.base, base)
    write_study(tmp_path / "outputs", base)
    selection = Selection.of(Study.open(STUDY, tmp_path / "outputs"))
    runs = selection.available()
    assert "dequantised" not in weight_sentence(selection, runs)
    assert "dequantised_from" not in provenance_of(selection, runs, weights=True)["W"]
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"dequantised_from": "Q4_1"}))
    says = "W was dequantised from Q4_1, so that it carries the noise of that rounding"
    for make in (table7.make, fig8.fig8, spectra.make):
        result = make(selection)
        texts = [drawing.caption for drawing in result.drawings.values()]
        texts += [" ".join(table.notes) for table in result.tables[:1]]
        assert texts
        assert all(text.count(says) == 1 for text in texts), make
        assert result.provenance["W"]["dequantised_from"] == "Q4_1"
    recorded = dict(runs[0].record, model={**runs[0].record["model"], "dequantised_from": "Q8_0"})
    assert "dequantised from Q8_0" in weight_sentence(selection, [Run(runs[0].path, recorded)])
