"""A value that no study could make valid is a wrong command line: one line, status 2."""

from __future__ import annotations

import pytest

from analysis.commands import main

WRONG = [
    ("fig4 --study s --layer x", "argument --layer: 'x' is no layer; layers are counted from 1"),
    ("fig4 --study s --rank 0", "argument --rank: '0' is no rank; give one from 1, such as 16"),
    ("fig3 --study s --ranks 8", "argument --ranks: '8': give two different ranks, as in 4,16"),
    ("fig3 --study s --ranks 8,x", "argument --ranks: 'x' is no rank; give one from 1, such as 16"),
    ("fig3 --study s --seeds 0,0", "'0,0' is no list of seeds; give different integers, as in 0,1"),
    ("fig3 --study s --targets qx", "'qx' is not a projection ('x' is unknown); valid are q k v o"),
    ("claims --study s --margin 0", "'0' is no margin; give points above 0, such as 1"),
    ("table6 --study s --choose lr", "'lr' is no setting; write KEY=VALUE, as in lr=0.01"),
    ("all --study s --skip fig99", "'fig99' is unknown; valid are"),
    ("archive --study s --out o --adapters fig99", "'fig99' is unknown; valid are none, "),
    ("resize PATH --out o --rank 0", "argument --rank: '0' is no rank; give one from 1, such as 16"),
    ("resize PATH --out o --rank two", "argument --rank: 'two' is no rank; give one from 1, such as 16"),
    ("resize PATH --out o --energy 1.5", "'1.5' is no share; give one above 0 and at most 1, such as 0.99"),
    ("resize PATH --out o --error 1", "'1' is no relative error; give one from 0 and below 1, such as 0.1"),
    ("resize PATH --out o --error nan", "'nan' is no relative error"),
    ("resize --out o --rank 1", "give the PATH of an adapter, or --from-full TUNED --base BASE"),
    ("resize PATH --from-full T --out o --rank 1", "--from-full TUNED takes --base BASE, and no PATH"),
    (
        "inspect PATH --intruders 5",
        "--intruders is of intruder dimensions, which need W: give the base model",
    ),
    ("inspect PATH --epsilon 0.4", "--epsilon is of intruder dimensions, which need W: give the base model"),
    ("inspect PATH --json j --html ./j", "j is given for --json and for --html; give each a file of its own"),
    ("compare P Q --csv j --html j", "j is given for --csv and for --html; give each a file of its own"),
    ("costs", "costs: give the study with --study, or a file of its own with --from"),
]


@pytest.mark.parametrize(("command", "said"), WRONG, ids=[command for command, _ in WRONG])
def test_a_wrong_value_is_wrong_use(command, said, capsys):
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        *(f"inspect PATH --{name} EMPTY" for name in ("json", "csv", "html", "base")),
        "inspect EMPTY",
        "compare PATH EMPTY",
        "compare PATH PATH --html EMPTY",
        "resize PATH --rank 1 --out EMPTY",
        "resize EMPTY --rank 1 --out o",
        "resize --from-full EMPTY --base b --rank 1 --out o",
        *(f"{name} --study EMPTY" for name in ("fig3", "truncation", "all", "archive --out o")),
        *(f"{name} --study s --out EMPTY" for name in ("fig3", "truncation", "all", "archive")),
        "fig3 --study s --root EMPTY",
        "fig3 --study s --task EMPTY",
        "costs --from EMPTY",
        "across EMPTY",
        "across folder --out EMPTY",
    ],
)
def test_what_a_shells_unset_variable_leaves_is_wrong_use(command, capsys):
    assert main(["" if word == "EMPTY" else word for word in command.split()]) == 2
    error = capsys.readouterr().err
    assert "'' is empty; give a" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["fig3 --study none", "inspect none", "resize none --rank 1 --out o"])
def test_what_is_not_there_is_a_failure(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_values_are_read(parsed):
    assert parsed("--choose", "lr=0.01", "--choose", "bias=none", "--choose", "force=true").choose == [
        ("lr", 0.01),
        ("bias", "none"),
        ("force", True),
    ]
    assert parsed("--ranks", "16,4").ranks == (4, 16)
    assert parsed("--seeds", "2,0").seeds == (2, 0)


@pytest.fixture
def parsed():
    from analysis.commands import _parser

    return lambda *options: _parser().parse_args(["fig3", "--study", "s", *options])
