"""WikiSQL's query: its text form, the parser that reads it back, and the two official scores.

A query selects one column, possibly aggregated, under a conjunction of conditions.  The model writes it as

    SELECT MAX points FROM table WHERE club = united AND age > 30

Official definitions: `lib/query.py` and `evaluate.py` of the WikiSQL release (paper section 7 reports the
logical-form accuracy on the validation set).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

AGGREGATIONS = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
OPERATORS = ("=", ">", "<", "OP")

Value = str | int | float
Condition = tuple[int, int, Value]


class QueryError(ValueError):
    """The text is no query over the given header."""


@dataclass(frozen=True)
class Query:
    """`sel` and the first entry of each condition index the header; `agg` and the second the tables above."""

    sel: int
    agg: int = 0
    conds: tuple[Condition, ...] = ()

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Query:
        """Read the release's `{"sel": int, "agg": int, "conds": [[column, operator, value], ...]}`."""
        return cls(record["sel"], record["agg"], tuple((c, o, v) for c, o, v in record["conds"]))

    def to_dict(self) -> dict[str, Any]:
        return {"sel": self.sel, "agg": self.agg, "conds": [list(cond) for cond in self.conds]}

    def matches(self, other: Query) -> bool:
        """Logical-form equality: conditions are an unordered set, values compare as lower-case strings."""
        return (self.sel, self.agg, _condition_set(self)) == (other.sel, other.agg, _condition_set(other))


@dataclass(frozen=True)
class Gold:
    """The gold query with the table that it runs on; `rows` is empty where the release carries none."""

    query: Query
    header: Sequence[str]
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]


def _condition_set(query: Query) -> frozenset[tuple[int, int, str]]:
    return frozenset((column, operator, str(value).lower()) for column, operator, value in query.conds)


# ----------------------------------------------------------------------------------------------- text


def to_text(query: Query, header: Sequence[str]) -> str:
    """Write the query in the plain form, or with quotes where the plain form would not read back as itself.

    Real headers and values contain keywords, operators, repeated names and empty strings; the quoted form
    (`"column"`, `"column"#2` for its second occurrence, `'value'`) is unambiguous for all of them.
    """
    plain = _write(query, header, quoted=False)
    try:
        if parse(plain, header).matches(query):
            return plain
    except QueryError:
        pass
    return _write(query, header, quoted=True)


def _write(query: Query, header: Sequence[str], quoted: bool) -> str:
    def column(index: int) -> str:
        name = header[index]
        if not quoted:
            return name
        occurrence = sum(earlier.lower() == name.lower() for earlier in header[: index + 1])
        return '"' + name.replace('"', '""') + '"' + (f"#{occurrence}" if occurrence > 1 else "")

    def value(content: Value) -> str:
        return "'" + str(content).replace("'", "''") + "'" if quoted else str(content)

    selection = " ".join(filter(None, (AGGREGATIONS[query.agg], column(query.sel))))
    conditions = [f"{column(c)} {OPERATORS[o]} {value(v)}" for c, o, v in query.conds]
    return f"SELECT {selection} FROM table" + (" WHERE " + " AND ".join(conditions) if conditions else "")


def parse(text: str, header: Sequence[str]) -> Query:
    """Read a query that `to_text` could have written; case and surrounding blanks do not matter.

    Raises QueryError when no reading exists.  When the text is ambiguous (a value that contains " AND "),
    the reading with the shortest first value is returned; `to_text` never writes such a text unquoted.
    """
    text = text.strip()
    start = re.match(r"SELECT ", text, re.IGNORECASE)
    if not start:
        raise QueryError(f"a query starts with SELECT, got {text[:40]!r}")
    for aggregation in (*range(1, len(AGGREGATIONS)), 0):
        word = AGGREGATIONS[aggregation]
        if not text[start.end() :].lower().startswith(word.lower() + " " if word else ""):
            continue
        position = start.end() + (len(word) + 1 if word else 0)
        for sel, after in _columns_at(text, position, header):
            rest = re.match(r" FROM table( WHERE |$)", text[after:], re.IGNORECASE)
            if not rest:
                continue
            if not rest.group(1):
                return Query(sel, aggregation)
            for conditions in _conditions_at(text, after + rest.end(), header):
                return Query(sel, aggregation, conditions)
    raise QueryError(f"not a query over the columns {list(header)}: {text[:80]!r}")


def _columns_at(text: str, position: int, header: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Column indices whose name stands at `position`, with the position behind it; longest name first."""
    quoted = re.compile(r'"((?:[^"]|"")*)"(?:#(\d+))?').match(text, position)
    if quoted:
        name, occurrence = quoted.group(1).replace('""', '"'), int(quoted.group(2) or 1)
        same = [index for index, column in enumerate(header) if column.lower() == name.lower()]
        if 1 <= occurrence <= len(same):
            yield same[occurrence - 1], quoted.end()
    for index in sorted(range(len(header)), key=lambda i: -len(header[i])):
        if text[position : position + len(header[index])].lower() == header[index].lower():
            yield index, position + len(header[index])


def _conditions_at(text: str, position: int, header: Sequence[str]) -> Iterator[tuple[Condition, ...]]:
    """Every way to read the rest of `text` as `column operator value AND ...`."""
    for column, after in _columns_at(text, position, header):
        for operator, symbol in enumerate(OPERATORS):
            if not text.startswith(f" {symbol} ", after):
                continue
            begin = after + len(symbol) + 2
            for value, end in _values_at(text, begin):
                if end == len(text):
                    yield ((column, operator, value),)
                else:
                    for more in _conditions_at(text, end + len(" AND "), header):
                        yield ((column, operator, value), *more)


def _values_at(text: str, begin: int) -> Iterator[tuple[str, int]]:
    """Values that start at `begin` and end before an " AND " or at the end of the text; shortest first."""
    quoted = re.compile(r"'((?:[^']|'')*)'(?= AND |$)").match(text, begin)
    if quoted:
        yield quoted.group(1).replace("''", "'"), quoted.end()
    for stop in re.compile(r" AND |$", re.IGNORECASE).finditer(text, begin):
        if stop.start() > begin:
            yield text[begin : stop.start()], stop.start()


# ------------------------------------------------------------------------------------------ execution


class Database:
    """One table in sqlite, queried in the manner of the release's `lib/dbengine.py`.

    Text is stored in lower case and `real` columns hold numbers; a condition's text is compared in lower
    case, and on a `real` column as the number that it spells.  Of several conditions on one column all have
    the value of the last, as in the release's code, where a column has one bound value.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, types: Sequence[str]):
        self.types = list(types)
        self._connection, self._table = connection, table

    @classmethod
    def of_rows(cls, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> Self:
        """In memory, from a line of {split}.tables.jsonl."""
        connection = sqlite3.connect(":memory:")
        columns = ", ".join(f"col{i} {'real' if t == 'real' else 'text'}" for i, t in enumerate(types))
        connection.execute(f"CREATE TABLE data ({columns})")
        connection.executemany(
            f"INSERT INTO data VALUES ({', '.join('?' * len(types))})",
            [[cell.lower() if isinstance(cell, str) else cell for cell in row] for row in rows],
        )
        return cls(connection, "data", types)

    @classmethod
    def stored(cls, connection: sqlite3.Connection, table_id: str) -> Self:
        """A table of the release's {split}.db.

        Raises:
            QueryError: it has no such table.
        """
        table = table_id if table_id.startswith("table") else f"table_{table_id.replace('-', '_')}"
        columns = connection.execute("SELECT type FROM pragma_table_info(?)", [table]).fetchall()
        if not columns:
            raise QueryError(f"the database has no table {table}")
        return cls(connection, table, [kind.lower() for (kind,) in columns])

    def execute(self, query: Query) -> list[Any]:
        """The selected values, in row order (one value for an aggregation).

        Raises:
            QueryError: it cannot be executed: a column or an operation that is not there, the placeholder
                operator OP, or a `real` column compared with a value that holds no number.
        """
        operations = [(query.agg, AGGREGATIONS), *((operator, OPERATORS) for _, operator, _ in query.conds)]
        if not all(0 <= index < len(known) for index, known in operations):
            raise QueryError(f"{query} has an operation that is not there")
        bound = {f"col{index}": self._comparable(index, value) for index, _, value in query.conds}
        try:
            column = f"col{query.sel}"
            selection = f"{AGGREGATIONS[query.agg]}({column})" if query.agg else column
            clauses = [f"col{index} {OPERATORS[operator]} :col{index}" for index, operator, _ in query.conds]
            where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
            found = self._connection.execute(f'SELECT {selection} FROM "{self._table}"{where}', bound)
            return [row[0] for row in found]
        except (sqlite3.Error, OverflowError) as error:
            raise QueryError(f"{query} cannot be executed: {error}") from error

    def same_result(self, query: Query, gold: Query) -> bool:
        """Whether both give the same values in the same order; what cannot be executed gives none."""
        try:
            return self.execute(query) == self.execute(gold)
        except QueryError:
            return False

    def close(self) -> None:
        self._connection.close()

    def _comparable(self, column: int, value: Value) -> Value:
        if not 0 <= column < len(self.types):
            raise QueryError(f"there is no column {column}")
        if self.types[column] != "real":
            return value.lower() if isinstance(value, str) else value
        if not isinstance(value, str):
            return value
        try:
            return float(value.replace(",", ""))
        except ValueError:
            number = re.search(r"[-+]?\d*\.\d+|\d+", value)
            if not number:
                raise QueryError(
                    f"column {column} holds numbers, the condition's value is {value!r}"
                ) from None
            return float(number.group())
