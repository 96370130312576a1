import pytest

from analysis.report.words import prose, slug


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("W_q, W_k", "<i>W</i><sub>q</sub>, <i>W</i><sub>k</sub>"),
        ("ΔW_up of", "Δ<i>W</i><sub>up</sub> of"),
        ("sqrt(d_out d_in)", "sqrt(<i>d</i><sub>out</sub> <i>d</i><sub>in</sub>)"),
        ("my_W_q W_quick weight_decay", "my_W_q W_quick weight_decay"),
        ("-0.5 (-3.1 to -1)", "−0.5 (−3.1 to −1)"),
        ("2026-11-22 1e-05 q4-v8 a-1 5-95 %", "2026-11-22 1e-05 q4-v8 a-1 5-95 %"),
        (
            "r = 8, d = 256",
            "r\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}8, d\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}256",
        ),
        ("`arbitrary` in the CSV", "<code>arbitrary</code> in the CSV"),
        ("<b>W's & W_q", "&lt;b&gt;W&#39;s &amp; <i>W</i><sub>q</sub>"),
    ],
)
def test_words_become_html(text, wanted):
    assert prose(text) == wanted


def test_slugs_are_names_of_anchors_and_differ():
    assert slug("fig3", "sql") == "fig3-sql"
    assert slug("fig3", None) == "fig3"
    assert slug('a"b c') == "a_22b_20c"
    assert slug("a b") != slug("a_b")
