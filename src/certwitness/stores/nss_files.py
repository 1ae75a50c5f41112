# SPDX-License-Identifier: MIT
"""The files of an NSS database, looked at read-only: certutil calls every trouble with them a "bad database"."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import quote

from certwitness.errors import StoreError

_FILES = {"sql": ("cert9.db", "key4.db"), "dbm": ("cert8.db", "key3.db")}
_CERTIFICATES = "SELECT a11 FROM nssPublic WHERE a0 = x'00000001' AND a3 = ?"  # CKA_VALUE, CKA_CLASS, CKA_LABEL


@dataclass(frozen=True)
class Location:
    """A database's directory and format, ``sql`` or ``dbm``."""

    format: str
    path: str

    @property
    def text(self) -> str:
        """As NSS's tools take it: the format before an absolute path, for they run in another directory."""
        return f"{self.format}:{os.path.abspath(self.path)}"


def location(directory: str) -> Location:
    """The database in `directory`, which may have ``sql:`` or ``dbm:`` before it. Raises StoreError if there is none
    or its files cannot be opened; what is in them is not looked at."""
    prefix, colon, rest = directory.partition(":")
    place = Location(prefix, rest) if colon and prefix in _FILES else Location("sql", directory)
    if not os.path.isdir(place.path):
        raise StoreError(directory, "there is no such directory")
    for name in _FILES[place.format]:
        try:
            os.close(os.open(os.path.join(place.path, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except FileNotFoundError as error:
            old = os.path.exists(os.path.join(place.path, "cert8.db")) and place.format == "sql"
            hint = " (there is one in the old format: write dbm: before the directory)" if old else ""
            raise StoreError(directory, f"no NSS database: {name} is missing{hint}") from error
        except OSError as error:
            raise StoreError(directory, f"{name} cannot be read: {error.strerror}") from error
    return place


def failure(place: Location, directory: str, words: str) -> StoreError:
    """What to raise where certutil could not open the database and said `words`."""
    for name in _FILES["sql"] if place.format == "sql" else ():
        try:
            with closing(_open(place, name)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            locked = "locked" in str(error)
            state = "is locked by another process: try again in a moment" if locked else f"is damaged: {error}"
            return StoreError(directory, f"{name} {state}")
    return StoreError(directory, f"certutil cannot read it: {words}")


def labelled(place: Location, nickname: bytes) -> set[bytes]:
    """The DER of all certificates with exactly that nickname; none if the file cannot say."""
    if place.format != "sql":
        return set()
    try:
        with closing(_open(place, "cert9.db")) as database:
            return {bytes(row[0]) for row in database.execute(_CERTIFICATES, (nickname,))}
    except (sqlite3.Error, TypeError):
        return set()


def _open(place: Location, name: str) -> sqlite3.Connection:
    path = quote(os.path.join(os.path.abspath(place.path), name))
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)
