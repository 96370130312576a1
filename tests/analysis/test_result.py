import dataclasses
import json
import os
import shutil
import subprocess
import textwrap

import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.result import (
    Cell,
    CommandLines,
    Drawing,
    Result,
    Row,
    Table,
    csv_bytes,
    rendered,
    write,
)


@pytest.fixture
def figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.add_axes((0.2, 0.2, 0.7, 0.7)).set_title(r"$\phi$ of words")
    return figure


@pytest.fixture
def result(figure):
    numbers = pd.DataFrame({"i": [1, 2], "phi": [1 / 3, float("nan")]})
    return Result("fig", numbers, {"runs": ["a"]}, {"": Drawing(figure, "A caption, φ.")}, {".md": "text\n"})


def test_files_and_their_content(result, tmp_path):
    paths = write(result, tmp_path / "new" / "folder")
    names = [path.name for path in paths]
    assert names == ["fig.pdf", "fig.png", "fig.txt", "fig.md", "fig.csv", "fig.json"]
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == sorted(names)
    assert (tmp_path / "new" / "folder" / "fig.csv").read_text() == "i,phi\n1,0.333333\n2,\n"
    assert (tmp_path / "new" / "folder" / "fig.txt").read_text(encoding="utf-8") == "A caption, φ.\n"
    record = json.loads((tmp_path / "new" / "folder" / "fig.json").read_text(encoding="utf-8"))
    assert record["runs"] == ["a"]
    assert record["captions"] == {"fig": "A caption, φ."}
    assert record["files"] == sorted(names[:-1])
    assert set(record["versions"]) == {"python", "torch", "numpy", "scipy", "pandas", "matplotlib"}
    assert "git_commit" in record
    assert str(tmp_path) not in json.dumps(record)


def test_a_repeat_gives_the_same_bytes(result, tmp_path):
    first, second = (write(result, tmp_path / name) for name in ("one", "two"))
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(first, second, strict=True))


def test_text_in_a_pdf_is_text_and_the_caption_is_in_both_kinds(result):
    drawing = result.drawings[""]
    pdf = rendered(drawing, "pdf", "fig")
    assert b"/Subtype /CIDFontType2" in pdf or b"/FontFile2" in pdf  # TrueType, not outlines or Type 3
    assert b"/Subtype /Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert "A caption, φ.".encode("utf-16-be") in pdf
    assert "A caption, φ.".encode() in rendered(drawing, "png", "fig")


def test_numbers_have_six_digits():
    frame = pd.DataFrame({"value": [123456.789, 1e-9 / 3, 2.0], "k": pd.array([1, None, 3], dtype="Int64")})
    assert csv_bytes(frame) == b"value,k\n123457,1\n3.33333e-10,\n2,3\n"


def test_a_failed_write_leaves_the_earlier_file(result, tmp_path, monkeypatch):
    write(result, tmp_path)
    before = (tmp_path / "fig.csv").read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(AnalysisError, match=r"fig\.pdf cannot be written: disk full; give another folder"):
        write(result, tmp_path)
    assert (tmp_path / "fig.csv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 6


def test_files_are_utf_8_whatever_a_folder_is_called(result, tmp_path):
    write(dataclasses.replace(result, texts={".md": "φ of runs in a\udcff\n"}), tmp_path)
    assert (tmp_path / "fig.md").read_text(encoding="utf-8") == "φ of runs in a\\udcff\n"


TABLE = Table(
    title="Table 0: a_b",
    labels=("task", ""),
    columns=("W_q, W_v", "100%"),
    groups=(
        (
            Row(("sql", "ours"), (Cell("73.1 ±0.4", strong=True), Cell("7"))),
            Row(("", "95%"), (Cell("72–74"), Cell("")), "interval"),
        ),
        (Row(("nli", "a|b"), (Cell("70", tied=True), Cell("8", strong=True))),),
    ),
    notes=("First note & more.", "Second."),
)


def test_terminal():
    expected = """\
        Table 0: a_b

        task         W_q, W_v   100%
        ----  ----  ----------  -----
        sql   ours  73.1 ±0.4*     7
              95%       72–74
        ----  ----  ----------  -----
        nli   a|b          70†     8*
        ----  ----  ----------  -----
        First note & more.
        Second."""
    assert TABLE.terminal() == textwrap.dedent(expected)


def test_markdown():
    expected = """\
        **Table 0: a_b.**

        | task |  | W_q, W_v | 100% |
        | --- | --- | ---: | ---: |
        | sql | ours | **73.1 ±0.4** | 7 |
        |  | 95% | 72–74 |  |
        | nli | a\\|b | 70† | **8** |

        First note & more.

        Second.
        """
    assert TABLE.markdown() == textwrap.dedent(expected)


def test_latex():
    expected = r"""
        \begin{table}
        \centering
        \caption{Table 0: a\_b.}
        \label{tab:x}
        \begin{tabular}{llrr}
          \toprule
          task &  & $W_q$, $W_v$ & 100\% \\
          \midrule
          sql & ours & \textbf{73.1 $\pm$0.4} & 7 \\
           & 95\% & 72--74 &  \\
          \midrule
          nli & a$|$b & 70$^\dagger$ & \textbf{8} \\
          \bottomrule
        \end{tabular}
        \par\smallskip\parbox{\textwidth}{\footnotesize First note \& more. Second.\par}
        \end{table}
        """
    assert TABLE.latex("tab:x") == textwrap.dedent(expected).lstrip("\n")


def test_special_characters_in_latex():
    text = Table("W_up 50% {x} #1 $ ~ ^ \\ <0.5 ±1 Δ", (), ("a",), ()).latex()
    assert (
        r"\caption{$W_{up}$ 50\% \{x\} \#1 \$ \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"$<$0.5 $\pm$1 $\Delta$.}"
    ) in text
    numbers = Table("-1.5 [-2, +3] 3-4 W-2 lr0.1-seed0 (-7)", (), ("a",), ()).latex()
    assert r"\caption{$-$1.5 [$-$2, +3] 3-4 W-2 lr0.1-seed0 ($-$7).}" in numbers
    assert r"\label" not in text


def test_a_wide_table_is_scaled_to_the_page_in_latex():
    wide = dataclasses.replace(TABLE, columns=("x" * 50, "y" * 50))
    assert wide.latex().count(r"\resizebox{\textwidth}{!}{%") == wide.latex().count(r"\end{tabular}}") == 1
    files = Result("t", pd.DataFrame(), {}, tables=(wide,)).documents()
    assert files[".tex"].startswith("% In the preamble: \\usepackage{booktabs, graphicx}\n")
    assert "graphicx" not in Result("t", pd.DataFrame(), {}, tables=(TABLE,)).documents()[".tex"]


def test_notes_longer_than_a_page_stand_behind_their_table_in_latex():
    notes = ("a " * 1000, "b_c", "d " * 1000)
    text = dataclasses.replace(TABLE, notes=notes).latex("tab:x")
    table, _, behind = text.partition(r"\end{table}")
    assert "footnotesize" not in table
    assert behind.startswith("\n{\\footnotesize\\noindent To Table~\\ref{tab:x}. a a")
    assert "a \n\nb\\_c\n\nd d" in behind
    assert behind.endswith("\\par}\n")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex, of Debian's texlive-latex-base")
def test_latex_compiles(tmp_path):
    wide = dataclasses.replace(TABLE, columns=("x" * 50, "y" * 50), notes=("<|>±×≤≥Δφ~^\\{}#$%&_ W_q–†",))
    long = dataclasses.replace(TABLE, notes=("word " * 400, "word " * 400))
    text = Result("t", pd.DataFrame(), {}, tables=(TABLE, wide, long)).documents()[".tex"]
    packages = text.splitlines()[0].removeprefix("% In the preamble: ")
    body = rf"\documentclass{{article}}{packages}\begin{{document}}\ref{{tab:t-1}}\ref{{tab:t-2}}{text}"
    (tmp_path / "t.tex").write_text(body + r"\end{document}", encoding="utf-8")
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout
    assert "Overfull" not in done.stdout


def test_a_result_is_its_tables_in_every_form():
    numbers = pd.DataFrame({"i": [1]})
    long = dataclasses.replace(TABLE, title="All of it", long=True)
    commands = CommandLines("To train it:", ("python run.py -m rank=8",))
    made = Result(
        "table", numbers, {}, tables=(TABLE, long), commands=commands, answers=("r = 1 is enough.",)
    )
    assert made.printed() == "\n".join(
        [
            TABLE.terminal(),
            "",
            "All of it: table.md",
            "",
            "To train it:",
            "  python run.py -m rank=8",
            "",
            "r = 1 is enough.",
        ]
    )
    texts = made.documents()
    assert texts[".md"] == "\n".join(
        [
            TABLE.markdown(),
            long.markdown(),
            "To train it:\n",
            "```\npython run.py -m rank=8\n```\n",
            "r = 1 is enough.\n",
        ]
    )
    head = "% In the preamble: \\usepackage{booktabs}\n"
    assert texts[".tex"] == "\n".join([head, TABLE.latex("tab:table-1"), long.latex("tab:table-2")])
    assert Result("fig", numbers, {}).printed() == ""
    assert Result("report", numbers, {}, texts={".html": "<p>"}, terminal="done").printed() == "done"
