"""The commit that a result names, and when it says that the code was another."""

from __future__ import annotations

import subprocess

import pytest

from experiments import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one file of code and one result, and the hash of its commit."""

    def git(*arguments):
        done = subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@b", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    for folder in ("experiments", "results"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("as committed")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    monkeypatch.setattr(provenance, "CODE", tmp_path / "experiments")
    provenance.git_commit.cache_clear()
    yield tmp_path, git("rev-parse", "HEAD")
    provenance.git_commit.cache_clear()


def test_the_commit(checkout):
    assert provenance.git_commit() == checkout[1]


@pytest.mark.parametrize(("folder", "suffix"), [("experiments", "+changes"), ("results", "")])
def test_changed_code_is_told_and_results_made_anew_are_not(folder, suffix, checkout):
    place, commit = checkout
    (place / folder / "file").write_text("something else")
    assert provenance.git_commit() == commit + suffix


def test_new_files_are_no_change_of_what_runs(checkout):
    place, commit = checkout
    (place / "experiments" / "notes").write_text("mine")
    assert provenance.git_commit() == commit


def test_a_package_in_someone_s_checkout_is_no_part_of_it(checkout, monkeypatch):
    place, _ = checkout
    installed = place / ".venv" / "experiments"
    installed.mkdir(parents=True)
    (installed / "file").write_text("from a wheel")
    monkeypatch.setattr(provenance, "CODE", installed)
    assert provenance.git_commit() is None


def test_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "CODE", tmp_path)
    provenance.git_commit.cache_clear()
    assert provenance.git_commit() is None
    provenance.git_commit.cache_clear()
