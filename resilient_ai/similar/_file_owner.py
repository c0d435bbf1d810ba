"""Check that a path may be used for answers: only a new file, or one made by this library for this user."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ._held_files import HELD_FILES

if TYPE_CHECKING:
    from ._held_files import HeldFile

APPLICATION_ID: Final = 1380010323
""""RAIS", the `PRAGMA application_id` in the header of every file of this library."""

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100
_ID_AT: Final = slice(68, 72)
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.01
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class ForeignFileError(ValueError):
    """The path is not a file of this library and this user. It is not changed."""


def claim(path: Path) -> tuple[HeldFile, bool]:
    """
    Make the file if the path is free, otherwise check it. Other files are never changed.

    Returns:
        The file, to be released when no connection uses it any more; and whether it is empty, so that a database has
        to be made in it.

    Raises:
        ForeignFileError: A symbolic link, something other than a file, another user's file, or not our database.
        OSError: The folder is missing, or the file may not be opened.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of {path} does not exist; make it first")
    held = HELD_FILES.hold(path, lambda: _open(path))
    try:
        return held, _is_empty(path, held)
    except BaseException:
        held.release()
        raise


def is_damaged(path: Path, held: HeldFile) -> bool:
    """
    Whether the file at a path is ours and may be renamed, because SQLite cannot read it.

    Args:
        path: The file.
        held: The file that was opened as ours.
    """
    try:
        found = path.lstat()
    except OSError:
        return False
    if found.st_ino != held.inode or not stat.S_ISREG(found.st_mode) or not _is_mine(found):
        return False
    header = held.first_bytes(_HEADER_BYTES)
    return _has_our_id(header) if header.startswith(_MAGIC) else True  # it was ours, but its header is destroyed


def _open(path: Path) -> int:
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        _refuse_what_is_no_file(path)  # checked before opening: opening a FIFO or a device may block or have effects
        return os.open(path, flags)


def _refuse_what_is_no_file(path: Path) -> None:
    for each in (path, *(Path(f"{path}{ending}") for ending in _SIDE_FILES)):
        try:
            found = each.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode):
            raise ForeignFileError(f"{each} is a symbolic link to {os.readlink(each)}; give the path of that file")
        if not stat.S_ISREG(found.st_mode):
            raise ForeignFileError(f"{each} is {_kind(found.st_mode)}, not a file; give the path of a file")
        if not _is_mine(found):
            raise ForeignFileError(
                f"{each} belongs to user {found.st_uid}, not to user {os.geteuid()} who runs this; give another path"
            )


def _is_empty(path: Path, held: HeldFile) -> bool:
    _refuse_what_is_no_file(path)
    found = os.fstat(held.descriptor)
    if not os.path.samestat(found, path.lstat()):
        raise ForeignFileError(f"{path} was replaced while it was being opened; try again")
    if found.st_size == 0:
        if found.st_nlink > 1:
            raise ForeignFileError(f"{path} is an empty file with {found.st_nlink} names; give another path")
        _keep_private(held.descriptor, found)
        return True
    header = _header(path, held)
    if not header.startswith(_MAGIC):
        raise ForeignFileError(f"{path} is not a database ({found.st_size} bytes of something else); give another path")
    if not _has_our_id(header):
        raise ForeignFileError(f"{path} is a database of another program; give another path")
    _keep_private(held.descriptor, found)
    return False


def _header(path: Path, held: HeldFile) -> bytes:
    """The first bytes of a file, read when no other process is making it."""
    header = b""
    for _ in range(_TRIES):
        header = held.first_bytes(_HEADER_BYTES)
        if _has_our_id(header) or not Path(f"{path}-journal").exists():
            break
        time.sleep(_PAUSE_SECONDS)
    return header


def _keep_private(file: int, found: os.stat_result) -> None:
    if found.st_mode & 0o077 and hasattr(os, "fchmod"):
        os.fchmod(file, 0o600)


def _has_our_id(header: bytes) -> bool:
    return int.from_bytes(header[_ID_AT], "big") == APPLICATION_ID


def _is_mine(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")
