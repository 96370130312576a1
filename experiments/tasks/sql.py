"""Text-to-SQL on generated tables and questions, in WikiSQL's layout.  Chance is 0."""

from __future__ import annotations

from experiments.tasks.examples import Example
from experiments.tasks.task import TASKS, GeneratedTask
from experiments.tasks.wikisql import WikiSQL, read_examples


@TASKS.register
class SQL(GeneratedTask, WikiSQL):
    """WikiSQL's prompt and scores."""

    name = "sql"

    @staticmethod
    def generate(split: str, count: int, seed: int) -> list[Example]:
        from experiments.embedded import sql

        return read_examples(split, *sql.examples(split, count, seed))
