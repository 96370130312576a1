from pathlib import Path

from experiments.identity import content_identity, file_sha256


def test_identity_is_the_content_not_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x.json").write_text("1")
    assert content_identity(tmp_path / "a") == content_identity(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x.json").write_text("1")
    assert content_identity(tmp_path / "c") != content_identity(tmp_path / "a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.json").write_text("2")
    assert content_identity(tmp_path / "d") != content_identity(tmp_path / "c")


def test_hidden_files_and_texts_for_people_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("1")
    before = content_identity(tmp_path)
    for name in ("README.md", ".cache"):
        (tmp_path / name).write_text("changed")
    content_identity.cache_clear()
    assert content_identity(tmp_path) == before


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert file_sha256(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")  # of no bytes
