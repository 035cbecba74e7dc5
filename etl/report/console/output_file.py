"""The file that a user names for a command's result."""

from __future__ import annotations

from pathlib import Path

from etl.core.errors import ConfigError, explained


def write_output(path: Path, content: str | bytes, what: str) -> None:
    """Write a result of a command.

    Args:
        path: as the user named it.
        content: text is written as UTF-8.
        what: the result with its article, for the message.

    Raises:
        ConfigError: the file can't be written.
    """
    with explained(
        ConfigError,
        f"{what} can't be written",
        where=str(path),
        allowed="a file in a folder that exists, on a disk with space",
        remedy="name another file, or make its folder",
    ):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
