"""Annotations of any order and number, grouped by photo, in bounded memory.

A public file lists annotations in an order of its own, and two files may speak of one photo. A reader adds
what it finds to a spool, a temporary SQLite database beside the output, and gets it back photo by photo, in
the order in which the photos were first mentioned. Memory is SQLite's cache and the distinct names, whatever
the size of the file; disk is about 60 bytes a box, 20 bytes a tag and the length of its RLE a mask (COCO's
train2017: 300 MB).

A spool that was filled once is not filled again: an interrupted conversion goes on behind it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cmask_tf.data.sources import Annotated, Annotations, Box, Object, image_size
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

# A killed run's file is thrown away, so nothing is journalled; 64 MiB of cache.
_PRAGMAS = """pragma journal_mode=off; pragma synchronous=off; pragma temp_store=file;
pragma cache_size=-65536;"""
_SCHEMA = """
create table photo (id integer primary key, path text unique, source_id text, height int, width int);
create table name (id integer primary key, name text unique);
create table thing (photo int, name int, ymin real, xmin real, ymax real, xmax real, crowd int, rle blob);
create table tag (photo int, name int);
create table note (key text primary key, value text) without rowid;
"""
_INDICES = "create index thing_of on thing(photo); create index tag_of on tag(photo);"
_THINGS = (
    "select photo, name, ymin, xmin, ymax, xmax, crowd, rle from thing where photo > ? order by photo, rowid"
)
_TAGS = "select photo, name from tag where photo > ? order by photo, rowid"
_PENDING = 1000  # rows that are inserted at a time


class Spool:
    """One temporary database.

    Args:
        file: its path; opened when it is there, else made.

    Attributes:
        complete: whether an earlier run filled it to the end.
    """

    def __init__(self, file: Path):
        file = Path(file)
        self._names: dict[str, int] = {}
        self._things: list[tuple] = []
        self._tags: list[tuple] = []
        try:
            self.complete = file.exists() and self._open(file)
            if not self.complete:
                file.unlink(missing_ok=True)
                self._open(file)
                self._database.executescript(_SCHEMA)
                self._database.execute("begin")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{file}: cannot be written ({error})") from None

    def _open(self, file: Path) -> bool:
        """Connects; returns whether the database was filled to the end."""
        self._database = sqlite3.connect(file, isolation_level=None)
        try:
            self._database.executescript(_PRAGMAS)
            return self.note("complete") is not None
        except sqlite3.DatabaseError:  # what a killed run left need not be a database
            return False

    def add_note(self, key: str, value) -> None:
        """Remembers a JSON value that a reader looks up later by key; the last one of a key stays."""
        self._database.execute("insert or replace into note values (?, ?)", (key, json.dumps(value)))

    def note(self, key: str):
        """The value of a key, or None."""
        row = self._database.execute("select value from note where key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def photo(self, path: Path, source_id: str, size: tuple[int, int] | None = None) -> int:
        """The row of a photo, added when it is new; the first source's id and size stay.

        Args:
            path: of its file.
            source_id: what its source calls it.
            size: annotated (height, width) in px; None: whatever the file's header says.
        """
        height, width = size or (None, None)
        run = self._database.execute
        row = run("select id from photo where path = ?", (str(path),)).fetchone()
        if row is None:
            values = (str(path), source_id, height, width)
            return run(
                "insert into photo (path, source_id, height, width) values (?, ?, ?, ?)", values
            ).lastrowid
        return row[0]

    def add(
        self, photo: int, name: str, box: Box | None, crowd: bool = False, counts: bytes | None = None
    ) -> None:
        """One object of a photo.

        Args:
            photo: its row.
            name: folded.
            box: (ymin, xmin, ymax, xmax), 0 to 1, or None.
            crowd: a group.
            counts: of a compressed RLE of the photo's size, or None.
        """
        self._things.append((photo, self._name(name), *(box or (None,) * 4), int(crowd), counts))
        if len(self._things) == _PENDING:
            self._insert()

    def add_tag(self, photo: int, tag: str) -> None:
        """One folded tag of a photo; it comes back once, however often it is added."""
        self._tags.append((photo, self._name(tag)))
        if len(self._tags) == _PENDING:
            self._insert()

    def _insert(self) -> None:
        self._database.executemany("insert into thing values (?, ?, ?, ?, ?, ?, ?, ?)", self._things)
        self._database.executemany("insert into tag values (?, ?)", self._tags)
        self._things.clear()
        self._tags.clear()

    def _name(self, name: str) -> int:
        if name not in self._names:
            self._database.execute("insert or ignore into name (name) values (?)", (name,))
            found = self._database.execute("select id from name where name = ?", (name,)).fetchone()
            self._names[name] = found[0]
        return self._names[name]

    def has_photo(self, path: Path) -> int | None:
        """The row of a photo that was added, or None."""
        row = self._database.execute("select id from photo where path = ?", (str(path),)).fetchone()
        return None if row is None else row[0]

    def finish(self, faults: Faults) -> None:
        """Everything is in: checks the share of faults, and keeps them with the data.

        Raises:
            UserError: too much of the source is faulty.
        """
        faults.check()
        self._insert()
        self._database.executescript(_INDICES)  # ends the transaction first
        self.add_note("complete", faults.state())
        self.complete = True

    def annotations(self, faults: Faults) -> Annotations:
        """What was added, one record a photo; `faults` takes up those that were found while filling."""
        state = self.note("complete")
        if state is None:
            raise ValueError("finish the spool first")
        faults.restore(state)
        rows = self._database.execute(
            "select distinct name.name from thing join name on name.id = thing.name"
        )
        names = tuple(sorted(row[0] for row in rows))
        total = self._database.execute("select count(*) from photo").fetchone()[0]
        return Annotations(names, total, self._photos, faults)

    def _photos(self, start: int) -> Iterator[Annotated | BadRecord]:
        run = self._database.execute
        names = dict(run("select id, name from name"))
        things, tags = (_Grouped(run(query, (start,))) for query in (_THINGS, _TAGS))
        rows = run("select id, path, source_id, height, width from photo where id > ? order by id", (start,))
        for row, text, source_id, height, width in rows:
            path, own, words = Path(text), things.of(row), tags.of(row)
            try:
                size = (height, width) if height else image_size(path)
            except BadRecord as bad:
                yield bad
                continue
            objects = tuple(_object(names, size, *values) for values in own)
            yield Annotated(
                path, source_id, *size, objects, tuple(dict.fromkeys(names[word] for _, word in words))
            )


class _Grouped:
    """Rows in the order of their photo, which comes first in each; a photo's at a time."""

    def __init__(self, rows: Iterator[tuple]):
        self._rows, self._next = rows, next(rows, None)

    def of(self, photo: int) -> list[tuple]:
        """The rows of a photo, which is behind all that were asked for before."""
        found = []
        while self._next is not None and self._next[0] <= photo:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found


def _object(names: dict, size: tuple[int, int], _: int, name: int, *values) -> Object:
    *box, crowd, counts = values
    mask = None if counts is None else {"size": list(size), "counts": counts}
    return Object(names[name], None if box[0] is None else tuple(box), mask, bool(crowd))
