"""The lists that the viewer shows: volumes and lesions of one version."""

from __future__ import annotations

from etl.report.outlines import masked_lesions
from etl.store.layout import report_path
from etl.store.reader import Store


def catalogue(store: Store) -> dict[str, object]:
    """Return the viewer's lists: volumes and lesions by column, and the report's page or None.

    Shapes, spacings and positions are (z, y, x), in voxels of the stored volume and mm.
    """
    volumes, lesions = store.volumes(), store.lesions()
    axes = "zyx"
    report = f"{report_path(store.version['version'])}/index.html"
    return {
        "store": store.objects.root,
        "version": store.version["version"],
        "report": report if store.objects.size(report) is not None else None,
        "over_time": "sequences" in store.version["tables"],
        "positions": "body_positions" in store.version["tables"],
        "volumes": {
            "volume_id": volumes["volume_id"].tolist(),
            "path": volumes["path"].tolist(),
            "shape": volumes[[f"shape_{a}" for a in axes]].to_numpy().tolist(),
            "spacing_mm": volumes[[f"spacing_{a}_mm" for a in axes]].to_numpy().tolist(),
            "hu": volumes[["hu_minimum", "hu_maximum", "hu_mean"]].to_numpy().tolist(),
        },
        "lesions": {
            "lesion_id": lesions["lesion_id"].tolist(),
            "volume_id": lesions["volume_id"].tolist(),
            "has_mask": lesions["lesion_id"].isin(masked_lesions(store.masks)).tolist(),
            "type": [None if code != code else code for code in lesions["coarse_type"].tolist()],
            "split": lesions["split"].tolist(),
            "long_diameter_mm": lesions["long_diameter_mm"].round(1).tolist(),
            "window_hu": lesions[["window_low_hu", "window_high_hu"]].to_numpy().tolist(),
            "z_vox": lesions["z_vox"].tolist(),
            "box_vox": lesions[[f"bbox_{a}{n}_vox" for n in "12" for a in "yx"]].to_numpy().tolist(),
            "recist_vox": lesions[
                [f"recist_{side}_{a}{n}_vox" for side in ("long", "short") for n in "12" for a in "yx"]
            ]
            .to_numpy()
            .tolist(),
        },
    }
