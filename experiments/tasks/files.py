"""Where a release is had from: the hub, or as it was downloaded: a folder, a tar or a zip archive."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.errors import HubError, UserError

Check = Callable[[dict[str, Any]], str | None]
"""What is wrong with a record, or None."""

BLANK = b" \t\r\n\xef\xbb\xbf"  # with the mark that Windows sets before UTF-8

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # of zipfile: a password, a method of compression that it does not know
)


def release_path(path: str) -> Path:
    """The downloaded release that task.path names.

    Raises:
        UserError: there is nothing.
    """
    place = Path(path).expanduser().resolve()
    if not place.exists():
        raise UserError(f"task.path={path} does not exist; give the downloaded release or leave it out")
    return place


def hub_rows(task: str, name: str, revision: str | None = None, configuration: str | None = None) -> Any:
    """The splits of a data set on the hub, each an iterable of rows.

    Raises:
        HubError: it cannot be fetched.
    """
    from datasets import load_dataset

    try:
        return load_dataset(name, configuration, revision=revision)
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = " ".join(str(error).split())[:160]
        raise HubError(
            f"task={task}: {name} cannot be fetched from the hub; where there is a network download it and "
            f"give its file or folder as task.path ({type(error).__name__}: {reason})"
        ) from error


def read_jsonl(
    root: Path, checks: Mapping[str, Check], required: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """The records of each file that `checks` names, anywhere below `root` (folder, .tar.*, .tgz or .zip).

    Archives are read in one pass.  Raises UserError when `root` is absent, not of these kinds, damaged or
    encrypted, when a name occurs twice, when a line is no JSON object or its check finds something wrong,
    and, if `required`, when a name is missing.
    """
    names = [*checks]
    if not root.exists():
        raise UserError(f"task.path={root} does not exist; give the folder or archive that holds {names}")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, content in named_files(root, names).items():
        found[name] = list(_checked(content, f"{root}:{name}", checks[name]))
        if not found[name]:
            raise UserError(f"task.path={root} holds a {name} without a record; leave it out or fill it")
    missing = [name for name in names if name not in found]
    if required and missing:
        raise UserError(
            f"task.path={root} holds no {', '.join(missing)}; found {sorted(found) or 'none'} of {names}"
        )
    return found


def named_files(root: Path, names: Collection[str]) -> dict[str, bytes]:
    """The files of these names that a release holds, wherever they lie in it.

    Raises:
        UserError: there are two of one name; or as `release_files`.
    """
    found: dict[str, bytes] = {}
    for path, content in release_files(root, lambda path: path.name in names):
        if path.name in found:
            raise UserError(
                f"task.path={root} holds more than one {path.name}; give the folder of one release"
            )
        found[path.name] = content
    return found


def release_files(
    root: Path, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path and content of the wanted files of a release: a folder, .tar.*, .tgz or .zip.

    Archives are read in one pass.

    Raises:
        UserError: it is not of these kinds, damaged or encrypted.
    """
    try:
        yield from _members(root, wanted)
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"task.path={root} cannot be read as a folder, tar or zip archive: it is damaged, not whole or "
            f"encrypted ({reason}); download it again, or unpack it and give the folder"
        ) from error


def _members(root: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[PurePosixPath, bytes]]:
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            name = PurePosixPath(path.relative_to(root).as_posix())
            if wanted(name) and path.is_file():
                yield name, path.read_bytes()
    elif zipfile.is_zipfile(root) or root.suffix == ".zip":  # half a zip archive is none by its content
        with zipfile.ZipFile(root) as archive:
            for entry in archive.infolist():
                name = PurePosixPath(entry.filename)
                if wanted(name) and not entry.is_dir():
                    yield name, archive.read(entry)
    else:
        with tarfile.open(root) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if wanted(name) and (file := archive.extractfile(member)):
                    yield name, file.read()
            _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """tarfile takes an archive cut off between files for a whole one, and reads no checksum at its end."""
    stream: Any = archive.fileobj
    if not stream.read(tarfile.BLOCKSIZE):
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends before its mark of the end")
    while stream.read(2**20):
        pass


def folder_files(root: Path, folder: str, names: Collection[str]) -> dict[str, bytes]:
    """The files of these names that stand in a folder of this name in a release, or in the release itself.

    Raises:
        UserError: one is missing or there twice; or as `release_files`.
    """
    found: dict[str, bytes] = {}
    for path, content in release_files(
        root, lambda path: path.name in names and path.parent.name in (folder, "")
    ):
        if path.name in found:
            raise UserError(
                f"task.path={root} holds more than one {folder}/{path.name}; give the folder of one release"
            )
        found[path.name] = content
    if missing := [name for name in names if name not in found]:
        raise UserError(
            f"task.path={root} holds no {folder}/{missing[0]}; give GLUE's folder, that of {folder} in it, "
            "or an archive of either"
        )
    return found


def _checked(content: bytes, where: str, check: Check) -> Iterator[dict[str, Any]]:
    for line, record in json_lines(content, where):
        if reason := check(record):
            raise UserError(f"{line}: {reason}")
        yield record


def json_lines(content: bytes, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The record of each line that is not blank, and where it stands: "train.jsonl, line 7".

    Raises:
        UserError: a line is no JSON object, or names a field twice.
    """
    for number, line in enumerate(io.BytesIO(content), start=1):
        if not line.strip(BLANK):
            continue
        try:
            record = json.loads(line, object_pairs_hook=_without_doubles)
        except ValueError as error:
            raise UserError(f"{where}, line {number} is not JSON: {_reason(error)}") from error
        if not isinstance(record, dict):
            raise UserError(f"{where}, line {number} is no JSON object; each line holds one record")
        yield f"{where}, line {number}", record


def json_document(content: bytes, where: str) -> Any:
    """The content of a .json file.

    Raises:
        UserError: it is no JSON, or an object in it names a field twice.
    """
    try:
        return json.loads(utf8(content, where), object_pairs_hook=_without_doubles)
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}") from error


def tab_rows(
    content: bytes, where: str, columns: Collection[str], header: Sequence[str] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """The row of each line that is not blank, and where it stands.  A quote is a sign like any other.

    The first line names the columns unless `header` does.  A row has the columns that its fields reach;
    fields beyond the header are left out, as in GLUE's own readers.

    Raises:
        UserError: it is not UTF-8, or its first line lacks one of `columns`.
    """
    for number, line in enumerate(io.StringIO(utf8(content, where), newline=None), start=1):
        fields = line.rstrip("\n").split("\t")
        if header is None:
            header = fields
            if missing := [column for column in columns if column not in header]:
                raise UserError(
                    f"{where}, line 1 has no column {missing[0]}; it has {', '.join(header)[:200]}"
                )
        elif line.strip():
            yield f"{where}, line {number}", dict(zip(header, fields, strict=False))


def _reason(error: ValueError) -> str:
    """Of what is no JSON, within its line."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (at character {error.pos + 1} of the line)"
    return "save the file as UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def utf8(content: bytes, where: str) -> str:
    """The text; a mark of its encoding at the front is left out.

    Raises:
        UserError: it is not UTF-8; with the first line that is not.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        byte = error.object[error.start]
        raise UserError(
            f"{where}, line {line} is not UTF-8 (byte 0x{byte:02x}: {error.reason}); save the file as UTF-8"
        ) from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)!r} stands twice in it")
    return record


def wrong_field(record: Mapping[str, Any], fields: Mapping[str, type]) -> str | None:
    """What is wrong with the first field that is missing or of another type, or None."""
    for name, kind in fields.items():
        if name not in record:
            return f"{name} is missing; a record has {', '.join(fields)}"
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            said = "null" if record[name] is None else repr(record[name])[:60]
            return f"{name} is {said}; it must be {_KINDS[kind]}"
    return None


_KINDS = {str: "a text", int: "an integer", float: "a number", list: "a list", dict: "an object"}
