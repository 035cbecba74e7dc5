"""Every file of ../shared/annotations joins with its README's counts; outliers are found by the checks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from etl.annotations.entries import Missing
from etl.annotations.joined import JoinedBox, JoinedMask, JoinedPair, JoinedTags, SourceJoin
from etl.annotations.sources import GivenRows, join_source
from etl.core.config import More

pytestmark = pytest.mark.slow


def joined(given: GivenRows, kind: str, *files: Path) -> SourceJoin:
    more = More.model_validate({"kind": kind, "files": tuple(str(file) for file in files)})
    return join_source("source", more, given)


def counts(found: SourceJoin) -> tuple[int, int, int, int]:
    return found.entries, len(found.joined), len(found.unmatched), len(found.rejects)


def reasons(found: SourceJoin) -> set[str]:
    return {item.reason for item in found.unmatched}


def test_dlt_joins_every_pair(val: GivenRows, others: Path) -> None:
    found = joined(val, "dlt_pairs", others / "dlt" / "valid.json")
    assert counts(found) == (453, 453, 0, 0)
    assert found.notes == {"listings": 906}
    pairs = [item for item in found.joined if isinstance(item, JoinedPair)]
    assert sum(pair.is_same_study for pair in pairs) == 27
    assert all(pair.first.series.patient == pair.second.series.patient for pair in pairs)
    assert sum(pair.first.coarse_type != pair.second.coarse_type for pair in pairs) == 9


def test_lesanet_joins_by_the_release_s_row(val: GivenRows, others: Path, numbered: pd.DataFrame) -> None:
    found = joined(val, "lesanet_tags", others / "lesanet" / "text_mined_labels_171_and_split.json")
    entries, own, missing, rejects = counts(found)
    assert (entries, own + missing, rejects) == (24_121, 24_121, 0)
    assert reasons(found) == {Missing.NOT_IN_CSV}
    assert len(found.tags) == 171
    assert found.notes["entries_without_relevant_tags"] == 1_671
    official = numbered[numbered.Train_Val_Test == "2"].row_index.astype(int).tolist()
    tags = [item for item in found.joined if isinstance(item, JoinedTags)]
    assert all(official[item.row.lesion_id] == item.entry.row for item in tags)
    assert sum(item.entry.split == "train" for item in tags) == 2_057
    assert found.notes["tags_name_coarse_type"] > 20 * found.notes["tags_name_other_type"]


def test_mulan_s_cache_joins_as_lesanet_s_train(val: GivenRows, others: Path) -> None:
    found = joined(val, "lesanet_tags", others / "mulan" / "tags_cache.json")
    assert counts(found) == (20_266, 2_057, 18_209, 0)
    assert reasons(found) == {Missing.NOT_IN_CSV}


def test_harvester_s_recist_boxes_all_join(val: GivenRows, others: Path) -> None:
    found = joined(val, "harvester_boxes", others / "harvester" / "RECIST-Box-Valid.pkl")
    assert counts(found) == (4_885, 4_885, 0, 0)
    assert len(found.lesions()) == 4_885
    assert all(item.iou > 0.99 for item in found.joined if isinstance(item, JoinedBox))


def test_harvester_s_revised_boxes_join_where_rows_are_there(all_known: GivenRows, others: Path) -> None:
    found = joined(all_known, "harvester_boxes", others / "harvester" / "Revised-Train100.pkl")
    assert found.entries == 420
    assert len(found.joined) == 9
    assert not found.rejects
    assert reasons(found) == {Missing.NOT_IN_CSV, Missing.NOT_LISTED}


def test_harvester_s_3d_boxes_lie_in_their_sub_volumes(all_known: GivenRows, others: Path) -> None:
    found = joined(all_known, "harvester_boxes", others / "harvester" / "3D-Box.pkl")
    assert (found.entries, len(found.rejects)) == (874, 0)
    assert [item.row.volume_id for item in found.joined if isinstance(item, JoinedBox)][:1] == [
        "000001_01_01_103-115"
    ]


def test_manual_boxes_are_all_sound(all_known: GivenRows, others: Path) -> None:
    found = joined(
        all_known, "manual_3d_boxes", others / "manual_1k" / "DeepLesion_manual_1K_test_release.pkl"
    )
    assert found.entries == 5_447
    (repeated,) = found.rejects
    assert "of 000410_02_02 has an earlier entry" in repeated.message
    assert found.notes["sub_volumes"] == 1_000
    assert found.notes["sub_volumes_without_boxes"] == 31
    assert found.notes["printed_lesions_without_box"] <= found.notes["printed_lesions"]
    assert found.notes["printed_lesions"] > 0


def test_aim_rows_all_join(val: GivenRows, others: Path) -> None:
    found = joined(val, "aim_rows", others / "aim" / "task1_train.csv")
    assert counts(found) == (2_610, 2_610, 0, 0)
    assert found.summary()["residual_px"] == {
        "x": pytest.approx(-0.5, abs=0.02),
        "y": pytest.approx(-0.5, abs=0.02),
        "compared": 2_610,
    }


def test_mvp_net_s_boxes_all_join(val: GivenRows, others: Path) -> None:
    found = joined(val, "coco_boxes", others / "mvp_net" / "deeplesion_val.json")
    assert counts(found) == (4_889, 4_889, 0, 0)
    assert len(found.lesions()) == 4_889


def test_corrected_rows_join(val: GivenRows, real_release: Path) -> None:
    found = joined(val, "dl_info_like", real_release / "DL_info_part.csv")
    assert counts(found) == (5_930, 4_889, 1_041, 0)


@pytest.mark.slow
def test_masks_hold_key_slices_and_cover_recist_lines(all_known: GivenRows, others: Path) -> None:
    found = joined(all_known, "uls23_masks", others / "uls23")
    assert found.entries == 613
    masks = [item for item in found.joined if isinstance(item, JoinedMask)]
    assert len(masks) + len(found.rejects) == 172
    assert [item.where for item in found.rejects] == ["002958_04_02_125_lesion_01.nii.gz"]
    for is_3d, count in ((True, 74), (False, 97)):
        near = [mask.end_point_px <= 3 for mask in masks if mask.is_3d == is_3d]
        assert len(near) == count
        assert sum(near) >= 0.95 * count
    assert found.splits is not None
    assert found.splits.entries == 749
    assert not found.splits.rejects
    residual = found.summary()["residual_px"]
    assert 0.2 < residual["x"] < 0.7
    assert 0.2 < residual["y"] < 0.8
