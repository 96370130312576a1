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


def test_a_repository_that_the_code_merely_lies_in_is_not_its_own(checkout, monkeypatch):
    """As when it is installed in a virtual environment inside somebody's project."""
    place, _ = checkout
    installed = place / ".venv" / "lib" / "site-packages" / "experiments"
    installed.mkdir(parents=True)
    monkeypatch.setattr(provenance, "CODE", installed)
    assert provenance.git_commit() is None


def test_a_repository_that_does_not_hold_the_code_is_not_its_own(checkout, monkeypatch):
    """As when it is installed by `pip install --target .`."""
    place, _ = checkout
    (place / "installed").mkdir()
    (place / "installed" / "file").write_text("not committed")
    monkeypatch.setattr(provenance, "CODE", place / "installed")
    assert provenance.git_commit() is None


def test_the_variables_of_another_repositorys_hook_change_nothing(checkout, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance.git_commit() == checkout[1]


def test_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "CODE", tmp_path)
    provenance.git_commit.cache_clear()
    assert provenance.git_commit() is None
    provenance.git_commit.cache_clear()
