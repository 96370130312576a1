"""One table, three forms."""

from __future__ import annotations

import textwrap

from analysis.tables.layout import Cell, Row, Table

TABLE = Table(
    title="Table 0: a_b",
    labels=("task", ""),
    columns=("W_q, W_v", "100%"),
    groups=(
        (
            Row(("sql", "ours"), (Cell("73.1 ±0.4", strong=True), Cell("7"))),
            Row(("", "95%"), (Cell("72–74"), Cell(""))),
        ),
        (Row(("nli", "a|b"), (Cell("–"), Cell("8", strong=True))),),
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
        nli   a|b           –      8*
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
        | nli | a\\|b | – | **8** |

        First note & more.

        Second.
        """
    assert TABLE.markdown() == textwrap.dedent(expected)


def test_latex():
    expected = r"""
        \begin{table}
        \centering
        \caption{Table 0: a\_b.}
        \begin{tabular}{llrr}
          \toprule
          task &  & $W_q$, $W_v$ & 100\% \\
          \midrule
          sql & ours & \textbf{73.1 $\pm$0.4} & 7 \\
           & 95\% & 72--74 &  \\
          \midrule
          nli & a|b & -- & \textbf{8} \\
          \bottomrule
        \end{tabular}
        \par\smallskip{\footnotesize First note \& more. Second.\par}
        \end{table}
        """
    assert TABLE.latex() == textwrap.dedent(expected).lstrip("\n")


def test_special_characters_in_latex():
    text = Table("W_up 50% {x} #1 $ ~ ^ \\", (), ("a",), ()).latex()
    assert (
        r"\caption{$W_{up}$ 50\% \{x\} \#1 \$ \textasciitilde{} \textasciicircum{} \textbackslash{}.}" in text
    )
