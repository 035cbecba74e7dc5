from __future__ import annotations

from pathlib import Path

import pytest

from etl.core.errors import ConfigError
from etl.report.console.output_file import write_output


@pytest.mark.parametrize("content", ["é\n", "é\n".encode()])
def test_text_and_bytes_are_written_whole(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "result"
    path.write_bytes(b"an older and longer result")
    write_output(path, content, "the result")
    assert path.read_bytes() == b"\xc3\xa9\n"


@pytest.mark.parametrize("name", ["no/result", "folder", "file/result", "x" * 300, "/dev/full"])
def test_a_place_that_takes_no_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="the result can't be written") as caught:
        write_output(tmp_path / name, b"1", "the result")
    assert caught.value.where == str(tmp_path / name)
    assert "make its folder" in str(caught.value)
