"""E2E, WebNLG, DART and SAMSum: each layout that is had, grouped, and written as microsoft/LoRA does."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections import Counter

import pytest

from experiments.errors import UserError
from experiments.metrics import METRICS, References, metric
from experiments.parts import TaskConfig
from experiments.tasks import TASKS, load_task
from experiments.tasks.generation import GenerationTask, consecutive
from experiments.tasks.webnlg import SEEN

NAMES = ("dart", "e2e", "samsum", "webnlg")


def entry(number, triples, texts, category="Airport"):
    return {
        str(number): {
            "category": category,
            "modifiedtripleset": [
                dict(zip(("subject", "property", "object"), t, strict=True)) for t in triples
            ],
            "lexicalisations": [{"lex": text, "comment": comment} for text, comment in texts],
        }
    }


E2E_LINES = {
    "train.txt": "name : Aromi | Type : pub||Aromi is a pub .\n"
    "name : Aromi | Type : pub|| A pub : Aromi . \n",
    "valid.txt": "name : B||one\nname : B||two\nname : C||three\nname : B||four\n",
    "test.txt": "name : D||five\n\n",
}
E2E_CSV = {
    "trainset.csv": '\ufeffmr,ref\n"name[Aromi], eatType[coffee shop]","Aromi, a ""coffee"" shop."\n',
    "devset.csv": 'mr,ref\n"name[B, C], near[D]",one\n"name[B, C], near[D]",two\n',
}
WEBNLG = {
    "train.json": {
        "entries": [
            entry(
                1,
                [("A_B", "p", '"x, y"'), ("A_B", "q", "C")],
                [("one", "good"), ("bad", "toFix"), ("two", "good")],
            ),
            entry(2, [("A", "p", "B")], [("bad", "toFix")]),
        ]
    },
    "dev.json": {"entries": [entry(1, [("A", "p", "B")], [("three", "good")])]},
    "test.json": {"entries": [entry(1, [("A", "p", "B")], [("four", "good"), ("five", "good")], "Artist")]},
}
XML = """<benchmark><entries><entry category="Astronaut" eid="Id1" size="2">
<originaltripleset><otriple>no | no | no</otriple></originaltripleset>
<modifiedtripleset><mtriple>A_B | p | "x"</mtriple>
<mtriple>C | q | D</mtriple></modifiedtripleset>
<lex comment="good" lid="Id1">{}</lex>
<lex comment="toFix" lid="Id2">bad</lex></entry></entries></benchmark>"""
DART = [
    {
        "tripleset": [["A", "PLAYS", "B"], ["[TABLECONTEXT]", "[title]", "C"]],
        "annotations": [{"text": "one"}, {"text": "two"}],
    },
    {"tripleset": [["A", "p", "B"]], "annotations": [{"text": " three "}]},
]
SAMSUM = [{"id": "1", "dialogue": "Ann: hi\r\nBob: bye", "summary": "Ann and Bob greet."}]


@pytest.fixture
def made(tmp_path):
    """`made({"train.txt": ...})`: a folder with these files; what is no text is written as JSON."""

    def write(files):
        for name, content in files.items():
            place = tmp_path / "release" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path / "release"

    return write


def loaded(name, path):
    return load_task(TaskConfig(name, path=str(path)))


def told(task, split):
    return [(e.prompt, e.target, e.gold.texts) for e in task.examples(split)]


def test_e2e_from_lines(made):
    task = loaded("e2e", made(E2E_LINES))
    prompt = "name : Aromi | Type : pub ||"
    assert told(task, "train") == [
        (prompt, " Aromi is a pub .", ("Aromi is a pub .",)),
        (prompt, " A pub : Aromi .", ("A pub : Aromi .",)),
    ]
    # Groups are of rows that follow each other, as the official script has them.
    assert told(task, "dev") == [
        ("name : B ||", " one", ("one", "two")),
        ("name : C ||", " three", ("three",)),
        ("name : B ||", " four", ("four",)),
    ]
    assert [e.target for e in task.references(task.examples("dev")[0])] == [" one", " two"]


def test_e2e_from_csv(made):
    task = loaded("e2e", made(E2E_CSV))
    assert told(task, "train") == [
        ("name : Aromi | eatType : coffee shop ||", ' Aromi, a "coffee" shop.', ('Aromi, a "coffee" shop.',))
    ]
    assert told(task, "dev") == [("name : B, C | near : D ||", " one", ("one", "two"))]


def test_webnlg_from_json(made, capsys):
    task = loaded("webnlg", made(WEBNLG))
    prompt = 'A_B : p : "x, y" | A_B : q : C ||'
    assert told(task, "train") == [(prompt, " one", ("one",)), (prompt, " two", ("two",))]
    assert "train.json: 1 of 2 inputs have no text and are left out" in capsys.readouterr().err
    assert [example.gold for example in task.examples("test")] == [References(("four", "five"), "unseen")]
    assert task.examples("dev")[0].gold.part == "seen"


def test_webnlg_from_xml(made):
    files = {
        "webnlg/train/1triples/Airport.xml": XML.format("one"),
        "webnlg/train/2triples/Airport.xml": XML.format("two"),
        "webnlg/dev/1triples/Food.xml": XML.format("three"),
        "webnlg/test/testdata_with_lex.xml": XML.format("four"),
        "webnlg/test/testdata_unseen_with_lex.xml": XML.format("four"),
        "webnlg/test/testdata_no_lex.xml": "<benchmark/>",
    }
    task = loaded("webnlg", made(files))
    assert [target for _, target, _ in told(task, "train")] == [" one", " two"]
    assert told(task, "test") == [('A_B : p : "x" | C : q : D ||', " four", ("four",))]
    assert {example.gold.part for example in task.examples("test")} == {"seen"}


def test_dart(made):
    task = loaded(
        "dart", made({f"dart-v1.1.1-full-{split}.json": DART for split in ("train", "dev", "test")})
    )
    assert told(task, "test") == [
        ("A : plays : B | [TABLECONTEXT] : [title] : C ||", " one", ("one", "two")),
        ("A : p : B ||", " three", ("three",)),
    ]
    assert [len(task.examples(split)) for split in task.splits] == [3, 2, 2]


def test_samsum(made):
    task = loaded("samsum", made(dict.fromkeys(("train.json", "val.json", "test.json"), SAMSUM)))
    assert told(task, "dev") == [("Ann: hi\nBob: bye\n\n", "Ann and Bob greet.", ("Ann and Bob greet.",))]
    with pytest.raises(UserError, match=r"corpus\.7z is an archive of 7-Zip; unpack it \(7z x corpus\.7z\)"):
        TASKS["samsum"].read(made({"corpus.7z": "x"}) / "corpus.7z")


def test_an_archive_is_the_same_data(made, tmp_path):
    folder = made(E2E_LINES)
    with tarfile.open(tmp_path / "e2e.tar.xz", "w:xz") as archive:
        archive.add(folder, "anything/e2e")
    with zipfile.ZipFile(tmp_path / "e2e.zip", "w") as archive:
        for name in E2E_LINES:
            archive.write(folder / name, f"e2e/{name}")
    for path in (tmp_path / "e2e.tar.xz", tmp_path / "e2e.zip"):
        assert told(loaded("e2e", path), "dev") == told(loaded("e2e", folder), "dev")
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes((tmp_path / "e2e.tar.xz").read_bytes()[:-60])
    with pytest.raises(UserError, match="cannot be read as a folder, tar or zip archive: it is damaged"):
        loaded("e2e", cut)


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        (
            "e2e",
            {"train.txt": "name : A||x\nname : B|x\n"},
            r"train\.txt, line 2 has 0 times \|\|; it must be",
        ),
        ("e2e", {"train.txt": "a||b||c\n"}, r"train\.txt, line 1 has 2 times"),
        ("e2e", {"train.txt": "name : A|| \n"}, r"train\.txt, line 1: the text is empty; it must be a text"),
        ("e2e", {"trainset.csv": "a,b\n"}, r"line 1: its header is \['a', 'b'\]; it must be mr, ref"),
        ("e2e", {"trainset.csv": "mr,ref\nname[A]\n"}, "line 2 has 1 fields; it must have 2"),
        ("e2e", {"trainset.csv": "mr,ref\nname A,x\n"}, "line 2: mr is 'name A'; it must be attributes"),
        ("e2e", {"trainset.csv": 'mr,ref\n"name[A],x\n'}, "cannot be read: unexpected end of data"),
        ("e2e", {"other.txt": "x"}, "holds no file of e2e: microsoft/LoRA has it in"),
        ("webnlg", {"train.json": '{"entries": '}, "train.json is not JSON: "),
        ("webnlg", {"train.json": {"entries": [1]}}, "entry 1 is not one object under its number"),
        ("webnlg", {"train.json": {"entries": [{"1": {}}]}}, "entry 1: category is missing"),
        ("webnlg", {"train.json": {"entries": []}}, "has no text for any of its 0 inputs"),
        ("webnlg", {"train.json": {"entries": [entry(1, [], [("x", "good")])]}}, "entry 1 has no triple"),
        ("webnlg", {"train/a.xml": "<benchmark>"}, "is not XML"),
        ("webnlg", {"a/train.json": WEBNLG["dev.json"], "b/train.json": WEBNLG["dev.json"]}, "more than one"),
        (
            "dart",
            {"dart-v1-train.json": [{"tripleset": [["a", "b"]], "annotations": []}]},
            "record 1: tripleset",
        ),
        ("dart", {"dart-v1-train.json": [{"tripleset": [["a", "b", "c"]], "annotations": [1]}]}, "no text"),
        ("dart", {"dart-v1-train.json": {}}, "is no list of records"),
        ("samsum", {"train.json": [{"dialogue": "x"}]}, "record 1: summary is missing"),
        ("samsum", {"train.json": [{"dialogue": "x", "summary": " "}]}, "record 1: summary is empty"),
    ],
)
def test_what_is_wrong_is_one_line(made, name, files, says):
    with pytest.raises(UserError, match=says) as caught:
        TASKS[name].load(TaskConfig(name, path=str(made(files))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_path_it_says_where_the_release_is_had(name):
    with pytest.raises(UserError, match=re.escape(TASKS[name].origin)):
        TASKS[name].check(TaskConfig(name))


def test_what_they_share():
    assert tuple(name for name, task in TASKS.items() if issubclass(task, GenerationTask)) == NAMES
    for name in NAMES:
        assert all(METRICS[one].judges == "text" for one in TASKS[name].metrics)
        assert not METRICS[TASKS[name].metrics[0]].lower_is_better
    assert consecutive([]) == []


def test_what_cannot_be_measured_is_left_out_and_said(made, monkeypatch):
    task = loaded("e2e", made(E2E_LINES))
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert task.not_measured.keys() == {"meteor", "rouge_l", "cider"}
    assert all("Java" in reason or "pycocoevalcap" in reason for reason in task.not_measured.values())
    judged = task.judge_all(task.examples("dev"), ["one", "two", "three"])
    assert [scores.keys() for scores in judged] == [{"bleu_lc", "nist"}] * 3


# -------------------------------------------------------------------------------------------- real files


def test_real_e2e(shared_data):
    """The challenge's numbers of pairs and inputs; no input of test is one of train."""
    task = loaded("e2e", shared_data / "nlg" / "nlg.tar.xz")
    assert {split: len(task.examples(split)) for split in task.splits} == {
        "train": 42061,
        "dev": 547,
        "test": 630,
    }
    texts = {split: sum(len(e.gold.texts) for e in task.examples(split)) for split in ("dev", "test")}
    assert texts == {"dev": 4672, "test": 4693}
    inputs = {split: Counter(e.prompt for e in task.examples(split)) for split in task.splits}
    assert {*inputs["dev"].values(), *inputs["test"].values()} == {1}
    assert not inputs["train"].keys() & inputs["test"].keys()
    # Each input's first text, judged against all, is a perfect answer.
    examples = task.examples("test")
    first = [e.gold.texts[0] for e in examples]
    assert metric("bleu_lc").value(metric("bleu_lc").scores(first, [e.gold for e in examples])) == 1
    assert 8 < metric("nist").value(metric("nist").scores(first, [e.gold for e in examples])) < 16


def test_real_webnlg(shared_data):
    """18,025 pairs in train and 2,258 in dev are what microsoft/LoRA trains on."""
    task = loaded("webnlg", shared_data / "nlg" / "nlg.tar.xz")
    assert len(task.examples("train")) == 18025
    assert (len(task.examples("dev")), sum(len(e.gold.texts) for e in task.examples("dev"))) == (871, 2258)
    assert {e.gold.part for e in task.examples("train")} == {"seen"}
    assert len(SEEN) == 10


def test_the_hub_s_miniatures_of_dart(shared_data):
    [path] = (shared_data / "hub_layouts").glob("dart_*.zip")
    task = loaded("dart", path)
    assert task.splits == ("train", "dev", "test")
    assert all(example.prompt.count(" : ") >= 2 for example in task.examples("test"))
