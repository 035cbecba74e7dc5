from __future__ import annotations

import gzip
import io
import logging

import pandas as pd
import pytest

from etl.core.errors import SourceError
from etl.release.csv_records import Record, Records, excerpt, read_records

COLUMNS = ("name", "size")
TABLE = Records(2, (Record({"name": "a", "size": "1, 2"}, 2), Record({"name": "b", "size": ""}, 2)))


def read(data: bytes) -> Records:
    return read_records(data, "some/list.csv", COLUMNS)


@pytest.mark.parametrize(
    "data",
    [
        b'name,size\na,"1, 2"\nb,\n',
        b'name,size\na,"1, 2"\nb,',
        b'name,size\r\na,"1, 2"\r\nb,\r\n',
        b'name,size\ra,"1, 2"\rb,\r',
        b'\xef\xbb\xbfname,size\na,"1, 2"\nb,\n',
        b'\n \t\nname,size\n\na,"1, 2"\n  \nb,\n\n',
        b'size,name\n"1, 2",a\n,b\n',
        b' name , size\na,"1, 2"\nb,\n',
        b"name;size\na;1, 2\nb;\n",
        b'"name"\t"size"\n"a"\t"1, 2"\n"b"\t""\n',
        'name,size\na,"1, 2"\nb,\n'.encode("utf-16"),
        "name;size\r\na;1, 2\r\nb;\r\n".encode("utf-16-be").join((b"\xfe\xff", b"")),
        gzip.compress(b'\xef\xbb\xbfname,size\r\na,"1, 2"\r\nb,', mtime=0),
        b"".join(gzip.compress(part, mtime=0) for part in (b'name,size\na,"1,', b' 2"\nb,\n', b"")),
    ],
    ids=[
        *("LF", "no end", "CRLF", "CR", "byte order mark", "blank lines", "other order", "spaces in header"),
        *("semicolons", "tabs and quotes", "UTF-16", "UTF-16 with semicolons", "gzip"),
        "gzip in several members",
    ],
)
def test_spellings_of_one_table(data: bytes) -> None:
    assert read(data) == TABLE


def test_an_extra_column_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table = read(b'name,reader\x1b,size,\na,X,"1, 2",\nb,X,,\n')
    assert [dict(r.cells) for r in table.records] == [dict(r.cells) for r in TABLE.records]
    assert "some/list.csv: ignoring columns" in caplog.text
    assert r": reader\x1b, (no name)" in caplog.text


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b"c", Record({"name": "c"}, 1)),
        (b"c,1,2", Record({"name": "c", "size": "1"}, 3)),
        (b"c,\xff1", Record({"name": "c", "size": "\ufffd1"}, 2)),
        (b"c,\0", Record({"name": "c", "size": "\0"}, 2)),
        (b'c,"1', Record({"name": "c"}, 0, "unexpected end of data")),
        (b'c,"1"2', Record({"name": "c"}, 0, "',' expected after '\"'")),
        (b"c,\r1", Record({"name": "c"}, 0, "a carriage return stands inside the line")),
        (b"c," + b"1" * 200_000, Record({"name": "c"}, 0, "field larger than field limit (131072)")),
        (b'"c,1', Record({}, 0, "unexpected end of data")),
    ],
)  # fmt: skip
def test_a_damaged_line_leaves_the_lines_around_it(line: bytes, record: Record) -> None:
    before, after = TABLE.records
    assert read(b'name,size\na,"1, 2"\n' + line + b"\nb,\n").records == (before, record, after)


def test_lines_are_counted_as_pandas_counts_them() -> None:
    data = b"\nname,size\na,1\n\n \t\n,\nb,2\r\n \nc\n\n"
    counted = pd.read_csv(io.BytesIO(data))
    assert [r.cells["name"] for r in read(data).records] == counted["name"].fillna("").tolist()


def test_a_missing_column_is_named_with_those_found_and_the_remedy() -> None:
    with pytest.raises(SourceError) as caught:
        read(b"name,colour\na,red\n")
    text = str(caught.value)
    assert "lacks 1 of 2 columns: size" in text
    assert "some/list.csv" in text
    assert "columns found: name, colour" in text
    assert caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"name,size", "no rows"),
        (b"name,size\n\n \n", "no rows"),
        (b"name,size,name\na,1,a\n", "more than once: name"),
        (b"PK\x03\x04\x14\x00\x00\x00", "not the release's CSV"),
        (b"<!DOCTYPE html>\n<html>\n", "not the release's CSV"),
        ("name,size\nabc,1\n".encode("utf-16-le"), "UTF-16 or UTF-32 without a byte order mark"),
        ("name,size\nabc,1\n".encode("utf-32"), "UTF-16 or UTF-32|not the release's CSV"),
        (b"name|size\na|1\n", "not the release's CSV"),
        (gzip.compress(b"name,size\na,1\n", mtime=0)[:-12], r"gzipped CSV can't be inflated"),
        (gzip.compress(b"name,size\n") + gzip.compress(b"a,1\n")[:-4], r"gzipped CSV can't be inflated"),
        (b"\x1f\x8bnot gzip", r"gzipped CSV can't be inflated"),
        (b'"name,size\na,1\n', "not the release's CSV"),
        (b"name,size,\0\na,1,\n", "not the release's CSV"),
        (b"name,size," + b"x" * 200_000 + b"\na,1,\n", "not the release's CSV"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_used_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(SourceError, match=what):
        read(data)


def test_excerpt_is_printable_and_bounded() -> None:
    assert excerpt("plain µ") == "plain µ"
    assert excerpt("a\n\x1b\u202eb") == r"a\n\x1b\u202eb"
    assert excerpt("abcdef", 3) == "abc..."
