"""Tools that read a volume's OME-Zarr as it lies in the store. `make tools` installs them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.store.reader import Store
from tests.support.browser import chromium, serving
from tests.support.require import tool

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def volume(demo_store: Store) -> tuple[Path, Any, np.ndarray[Any, Any]]:
    """The folder of a volume with a lesion, the lesion's row, and the voxels."""
    lesion = demo_store.lesions().iloc[0]
    rows = demo_store.volumes().set_index("volume_id", drop=False)
    folder = Path(demo_store.objects.root, rows.at[lesion["volume_id"], "path"])
    return folder, lesion, np.asarray(demo_store.array(lesion["volume_id"])[...])


def test_zarr_opens_a_volume_and_warns_of_nothing(
    demo_store: Store, volume: tuple[Path, Any, np.ndarray[Any, Any]]
) -> None:
    import zarr

    folder, _, voxels = volume
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(folder, mode="r")
        assert list(group.keys()) == ["0"]
        assert np.array_equal(zarr.open_array(folder / "0", mode="r")[...], voxels)
        with pytest.raises(FileNotFoundError):
            zarr.open_group(demo_store.objects.root, mode="r")


def test_ome_zarr_py(volume: tuple[Path, Any, np.ndarray[Any, Any]]) -> None:
    tool("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    folder, lesion, voxels = volume
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (node,) = Reader(parse_url(str(folder)))()
    assert np.array_equal(np.asarray(node.data[0]), voxels)
    assert node.metadata["contrast_limits"] == [[-175, 275]]
    assert node.metadata["name"] == lesion["volume_id"]


def test_napari_ome_zarr(volume: tuple[Path, Any, np.ndarray[Any, Any]]) -> None:
    plugin = tool("napari_ome_zarr")
    folder, lesion, voxels = volume
    ((data, options, kind),) = plugin.napari_get_reader(str(folder))(str(folder))
    level = data[0] if isinstance(data, list) else data
    assert kind == "image"
    assert np.array_equal(np.asarray(level), voxels)
    assert list(options["scale"]) == [2.0, 2.0, 2.0]
    assert np.ravel(options["contrast_limits"]).tolist() == [-175, 275]
    assert lesion["volume_id"] in str(options["name"])


def test_tensorstore_reads_and_checks(volume: tuple[Path, Any, np.ndarray[Any, Any]], tmp_path: Path) -> None:
    tensorstore = tool("tensorstore")
    folder, _, voxels = volume

    def read(level: Path) -> Any:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{level}/"}}
        return tensorstore.open(spec, read=True).result().read().result()

    assert np.array_equal(read(folder / "0"), voxels)
    shard = bytearray((folder / "0/c/0/0/0").read_bytes())
    shard[len(shard) // 3] ^= 1
    (tmp_path / "0/c/0/0").mkdir(parents=True)
    (tmp_path / "0/c/0/0/0").write_bytes(shard)
    (tmp_path / "0/zarr.json").write_bytes((folder / "0/zarr.json").read_bytes())
    with pytest.raises(ValueError, match="Digest mismatch"):
        read(tmp_path / "0")


def test_itk_through_ngff_zarr_places_the_lesion(volume: tuple[Path, Any, np.ndarray[Any, Any]]) -> None:
    ngff_zarr = tool("ngff_zarr")
    itk = tool("itk")
    folder, lesion, voxels = volume
    image = ngff_zarr.from_ngff_zarr(str(folder)).images[0]
    image.data = np.asarray(image.data)  # the ITK image borrows this array
    placed = ngff_zarr.ngff_image_to_itk_image(image, wasm=False)
    assert np.array_equal(itk.GetArrayViewFromImage(placed), voxels)
    x, y = ((lesion[f"bbox_{axis}1_vox"] + lesion[f"bbox_{axis}2_vox"]) / 2 for axis in "xy")
    direction, spacing = itk.array_from_matrix(placed.GetDirection()), np.array(placed.GetSpacing())
    point = np.array(placed.GetOrigin()) + direction @ (spacing * [x, y, lesion["z_vox"]])
    assert list(point) == pytest.approx([lesion[f"lps_{axis}_mm"] for axis in "xyz"])


def test_neuroglancer_draws_a_served_volume(
    demo_store: Store, volume: tuple[Path, Any, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    neuroglancer = tool("neuroglancer")
    folder, lesion, voxels = volume
    path = folder.relative_to(demo_store.objects.root).as_posix()
    neuroglancer.set_server_bind_address("127.0.0.1")
    viewer = neuroglancer.Viewer()
    origin = viewer.get_viewer_url().split("/v/")[0]
    with serving(demo_store, [origin]) as address, chromium(tmp_path, 800, 800) as page:
        with viewer.txn() as state:
            state.dimensions = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="mm", scales=[2] * 3)
            state.layers["ct"] = neuroglancer.ImageLayer(
                source=f"{address}/store/{path}/|zarr3:",
                shader="#uicontrol invlerp normalized(range=[-175, 275])\n"
                "void main() { emitGrayscale(normalized()); }",
            )
            z = min(round(lesion["z_vox"]), voxels.shape[0] - 1)
            state.position = [voxels.shape[2] / 2, voxels.shape[1] / 2, z + 0.5]
            state.layout = "xy"
            state.cross_section_scale = 1
            state.show_axis_lines = False
        page.get(viewer.get_viewer_url())
        pixels = viewer.screenshot(size=(300, 300)).screenshot.image_pixels[..., 0].astype(float)
    grey = np.clip((voxels[z] + 175.0) / 450, 0, 1) * 255
    middle = slice(100, 200)  # one voxel is one pixel, and the middle of the plane is that of the picture
    rows, columns = (n // 2 - 50 for n in grey.shape)
    expected = grey[rows : rows + 100, columns : columns + 100]
    shown = pixels[middle, middle]
    as_stored, *turned = (
        np.corrcoef(way.ravel(), expected.ravel())[0, 1]
        for way in (shown, shown[::-1], shown[:, ::-1], shown.T)
    )
    assert as_stored > max(0.9, *turned)
