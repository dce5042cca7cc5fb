"""A zip archive that others made: what its directory declares, checked before anything is unpacked."""

import zipfile
from pathlib import Path, PurePosixPath

from ..errors import InputError

MAX_MEMBERS = 10_000
# Keras and NumPy store members nearly uncompressed. More than this and 50 times the file's own size is a bomb.
MAX_UNPACKED_BYTES = 1 << 30
MAX_EXPANSION = 50


def check_archive(path: Path, what: str) -> list[str]:
    """Return the names of the members of a zip archive whose declared sizes are plausible.

    Args:
        path: the file.
        what: what it should be, for the message, such as "a .keras file".

    Raises:
        InputError: no archive, a truncated one, or one that declares too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise InputError(
            f"Expected {what}. Got: {path}, {path.stat().st_size} bytes that start like one but have no intact "
            f"directory at the end ({error}): probably truncated, an incomplete copy or download."
        ) from error
    if len(members) > MAX_MEMBERS:
        raise InputError(f"Expected {what} of at most {MAX_MEMBERS} members. Got: {len(members)} in {path}.")
    declared, stored = sum(member.file_size for member in members), path.stat().st_size
    if declared > MAX_UNPACKED_BYTES and declared > MAX_EXPANSION * stored:
        raise InputError(
            f"Expected {what} that unpacks to at most {MAX_EXPANSION} times its size. Got: {path}, {stored} bytes that "
            f"declare {declared} bytes."
        )
    for member in members:
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            raise InputError(f"Expected {what} with members inside it. Got: member {member.filename!r} in {path}.")
        if member.flag_bits & 1:
            raise InputError(f"Expected {what} without a password. Got: encrypted {member.filename!r} in {path}.")
    return [member.filename for member in members]
