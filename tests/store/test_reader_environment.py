"""`etl.store` reads a store where only what a reader needs is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

STORE = ROOT / "tests" / "contract" / "store_v1"
# Packages of the extras `s3` and `build`, by the names that are imported.
BLOCKED = [
    *("dask", "distributed", "fsspec", "s3fs", "imageio", "isal", "jinja2", "nibabel", "numba"),
    *("ome_zarr_models", "rich", "urllib3", "botocore", "aiobotocore"),
]
LATER = ["pandas", "pyarrow", "xarray", "zarr"]
SCRIPT = '''
import json, sys, time

finders = list(sys.meta_path)

class Without:
    """Finds what is not blocked; the rest looks as if it were not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)

    def find_distributions(self, *context):
        for finder in finders:
            yield from getattr(finder, "find_distributions", lambda *_: ())(*context)

store_path, blocked, later = sys.argv[1], set(sys.argv[2].split(",")), sys.argv[3].split(",")
sys.meta_path[:] = [Without()]
start = time.process_time()
from etl.store import KeySlabs, LesionCrops, open_store
seconds = time.process_time() - start
loaded = [name for name in later if name in sys.modules]
store = open_store(store_path)
lesions = store.lesions()
crops, slabs = LesionCrops(store, size_vox=(8, 16, 16)), KeySlabs(store)
found = {
    "seconds": seconds,
    "loaded": loaded,
    "lesions": len(lesions),
    "shapes": [list(crops[0]["image"].shape), list(slabs[0]["image"].shape)],
    "crop": list(store.crop(int(lesions.lesion_id[0]), size_mm=8).shape),
    "volume": list(store.volume(lesions.volume_id[0]).values.shape),
    "zarr": list(store.array(lesions.volume_id[0]).zarr_array()[...].shape),
    "blocked": [name for name in blocked if name in sys.modules],
}
try:
    open_store("s3://bucket/store")
except Exception as error:
    found["s3"] = str(error)
print(json.dumps(found))
'''


@pytest.mark.slow
def test_a_reader_needs_no_more_than_its_requirements(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    script = tmp_path / "read.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(STORE), ",".join(BLOCKED), ",".join(LATER)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    record_property("import_cpu_seconds", found["seconds"])
    assert found["loaded"] == [], "they take most of a second: import them where a table or volume is read"
    assert found["blocked"] == []
    assert found["lesions"] == 3
    assert found["shapes"][0] == [8, 16, 16]
    assert found["shapes"][1][0] == 9
    assert found["volume"] == found["zarr"]
    assert "deeplesion-store[s3]" in found["s3"]
