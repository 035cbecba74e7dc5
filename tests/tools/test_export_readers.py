"""Tools that train from exports read them, and see the lesions where they are. `make tools` installs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.export.export import export
from etl.export.protocol import Selection
from etl.publish.add_tables import NewTable, add_tables
from etl.store.reader import Store, open_store
from etl.tables.embeddings import embedding_columns, embeddings_table
from tests.support.require import tool
from tests.support.three_volumes import built

pytestmark = pytest.mark.campaign
FEW = Selection(patients=(1, 4))


@pytest.fixture(scope="module")
def coco(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("coco")
    export(demo_store, out, "coco", Selection())
    return out


def box_vox(lesion: Any) -> list[float]:
    return [float(lesion[f"bbox_{name}_vox"]) for name in ("x1", "y1", "x2", "y2")]


def test_nnunet_verifies_its_data_set(
    few_masks: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    tool("nnunetv2")
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    out = tmp_path / "raw" / "Dataset501_DeepLesion"
    export(few_masks, out, "nnunet", Selection())
    verify_dataset_integrity(str(out), num_processes=1)
    found = get_filenames_of_train_images_and_targets(str(out))
    assert sorted(found) == ["000001_01_01_001-013", "000002_01_01_001-013"]
    (fold,) = json.loads((out / "splits_final.json").read_text())
    assert sorted([*fold["train"], *fold["val"]]) == sorted(found)
    shutil.copy(
        out / "labelsTs" / "000003_01_01_001-013.nii.gz", out / "labelsTr" / "000002_01_01_001-013.nii.gz"
    )
    about = json.loads((out / "dataset.json").read_text())
    del about["labels"]["ignore"]
    (out / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(RuntimeError, match="unexpected labels"):
        verify_dataset_integrity(str(out), num_processes=1)


def test_monai_moves_boxes_onto_the_voxels(demo_store: Store, tmp_path: Path) -> None:
    tool("monai")
    from monai.apps.detection.transforms.dictionary import AffineBoxToImageCoordinated, ConvertBoxModed
    from monai.data import load_decathlon_datalist
    from monai.transforms import Compose, EnsureTyped, LoadImaged

    export(demo_store, tmp_path, "monai", FEW)
    steps = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            EnsureTyped(["image", "box"]),
            ConvertBoxModed("box", src_mode="cccwhd", dst_mode="xyzxyz"),
            AffineBoxToImageCoordinated("box", "image", affine_lps_to_ras=False),
        ]
    )
    lesions = demo_store.lesions().set_index("lesion_id")
    seen = 0
    for section in ("training", "validation", "test"):
        for item in load_decathlon_datalist(str(tmp_path / "dataset.json"), False, section, str(tmp_path)):
            made = steps(dict(item))
            for box, lesion_id in zip(made["box"].numpy(), item["lesion_id"], strict=True):
                lesion = lesions.loc[lesion_id]
                x1, y1, x2, y2 = box_vox(lesion)
                # MONAI's image is (row, column, slice), as the file is.
                assert box[[0, 1, 3, 4]] == pytest.approx([y1, x1, y2, x2], abs=1e-2)
                assert (box[2] + box[5]) / 2 == pytest.approx(lesion["z_vox"], abs=1e-2)
                seen += 1
    assert seen == 5


def test_torchio_places_the_lesion(demo_store: Store, tmp_path: Path) -> None:
    torchio = tool("torchio")
    export(demo_store, tmp_path, "nifti", Selection(patients=(1,)))
    lesion = demo_store.lesions().iloc[0]
    image = torchio.ScalarImage(tmp_path / f"{lesion['volume_id']}.nii.gz")
    assert tuple(image.spacing) == (2.0, 2.0, 2.0)
    voxels = np.asarray(demo_store.array(lesion["volume_id"])[...])
    assert np.array_equal(np.asarray(image.data[0]), voxels.transpose(1, 2, 0))
    x1, y1, x2, y2 = box_vox(lesion)
    ras = np.asarray(image.affine) @ [(y1 + y2) / 2, (x1 + x2) / 2, lesion["z_vox"], 1]
    assert ras[:3] == pytest.approx([-lesion["lps_x_mm"], -lesion["lps_y_mm"], lesion["lps_z_mm"]], abs=1e-3)


def test_torchvision_reads_each_split(demo_store: Store, coco: Path) -> None:
    torch = tool("torch")
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        tool("torchvision.datasets")
    except RuntimeError:
        # Built for another PyTorch than the CPU's: its operators are missing, which its readers don't use.
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    lesions = demo_store.lesions().set_index("lesion_id")
    seen = 0
    for split in ("train", "val", "test"):
        path = coco / "annotations" / f"{split}.json"
        read = CocoDetection(coco / "images", path)
        for number, (image, target) in enumerate(
            wrap_dataset_for_transforms_v2(read, target_keys=("boxes", "labels", "masks", "image_id"))
        ):
            ids = [entry["lesion_id"] for entry in read[number][1]]
            assert target["masks"].shape[1:] == (image.height, image.width)
            assert target["masks"].flatten(1).any(dim=1).all()
            for box, lesion_id in zip(target["boxes"].tolist(), ids, strict=True):
                expected = np.array(box_vox(lesions.loc[lesion_id])) + 0.5
                assert box == pytest.approx(np.clip(expected, 0, [image.width, image.height] * 2), abs=1e-2)
                seen += 1
    assert seen == len(lesions)


def test_pycocotools_draws_each_annotation(coco: Path) -> None:
    pyplot = tool("matplotlib.pyplot")
    from pycocotools.coco import COCO

    read = COCO(str(coco / "annotations" / "test.json"))
    figure, axes = pyplot.subplots()
    read.showAnns(list(read.anns.values()))
    # The faces of all polygons, and their edges.
    assert [len(drawn.get_paths()) for drawn in axes.collections] == [len(read.anns)] * 2
    pyplot.close(figure)


def test_fiftyone_imports_each_split(coco: Path, demo_store: Store) -> None:
    readers = tool("fiftyone.utils.coco")
    seen = 0
    for split in ("train", "val", "test"):
        importer = readers.COCODetectionDatasetImporter(
            data_path=str(coco / "images"),
            labels_path=str(coco / "annotations" / f"{split}.json"),
            label_types=["detections", "segmentations"],
        )
        with importer:
            for path, _, labels in importer:
                assert Path(path).is_file()
                assert all(drawn.mask.any() for drawn in labels["segmentations"].detections)
                seen += len(labels["detections"].detections)
    assert seen == len(demo_store.lesions())


def test_hugging_face_reads_the_tables(
    demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = tool("datasets")
    store = open_store(built(tmp_path / "vectors").store)
    table = embeddings_table("looks", 2)
    rows = table.rows(embedding_columns(range(3), np.ones((3, 2))))
    add_tables(store.objects, store.version, [NewTable(table, rows, range(3))])
    export(open_store(store.objects.root), tmp_path / "other", "huggingface", Selection())
    for name in ("lesions", "embeddings-looks"):
        found = datasets.load_dataset(str(tmp_path / "other"), name, cache_dir=str(tmp_path / "others"))
        assert sum(map(len, found.values())) == 3
    export(demo_store, tmp_path / "out", "huggingface", Selection())
    read = datasets.load_dataset(str(tmp_path / "out"), "lesions", cache_dir=str(tmp_path / "cache"))
    assert set(read) == {"train", "validation", "test"}
    ids = [number for part in read.values() for number in part["lesion_id"]]
    assert sorted(ids) == sorted(demo_store.lesions()["lesion_id"])
