"""CSVs by others that are of another kind, and their rows that have more fields than the header."""

from __future__ import annotations

import pytest

from etl.annotations.entries import Fault
from etl.annotations.sources import KINDS
from etl.core.errors import SourceError

SUB_VOLUME = "000004_02_02_043-103"
ALLOWED = "as in the header; put quotes around a cell that holds the separator"


@pytest.mark.parametrize(
    ("kind", "text", "fields", "allowed"),
    [
        ("dl_info_like", "File_name,Bounding_boxes\n000001_01_01_109.png,4, 5, 12, 13\n", 5, 2),
        ("dl_info_like", "File_name,note\n000001_01_01_109.png,small, round\n", 3, 2),
        ("dl_info_like", 'note;Bounding_boxes;File_name\na;"4, 5, 12, 13";000001_01_01_109.png;\n', 4, 3),
        (
            "aim_rows",
            f"Unnamed: 0,Volume_fn,bbox,centroid_z\n15,{SUB_VOLUME},[291, 234, 309, 250],31\n",
            7,
            4,
        ),
    ],
)
def test_a_row_of_more_fields_than_the_header_says_so(
    kind: str, text: str, fields: int, allowed: int
) -> None:
    found = KINDS[kind].read(text.encode(), "a file")
    assert found.entries == ()
    (reject,) = found.rejects
    assert (reject.where, reject.reason) == ("line 2", Fault.ENTRY_MALFORMED)
    assert reject.message == (
        f"the line is not a CSV record: it has {fields} fields; allowed: {allowed}, {ALLOWED}"
    )


@pytest.mark.parametrize("kind", ["aim_rows", "dl_info_like"])
@pytest.mark.parametrize(
    "text", ["name,size\na,1\n", "Unnamed: 0,Volume,bbox\n", "Volume_fn\tBounding_boxes\n", " \n", "PK\3\4"]
)
def test_a_csv_of_another_kind_is_not_to_be_replaced_by_the_release_s(kind: str, text: str) -> None:
    with pytest.raises(SourceError) as caught:
        KINDS[kind].read(text.encode(), "a file")
    assert caught.value.remedy == "give the file as its authors publish it, or name its own `kind`"
    assert "release" not in caught.value.what
