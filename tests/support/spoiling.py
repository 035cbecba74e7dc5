"""Spoil the second archive of a served release, and say what a store lacks then."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etl.pipeline.build import Build, build, load_plan
from etl.plan.plan import Plan
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.remote_release import (
    ARCHIVES,
    VOLUMES,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    published_bytes,
    receipts,
)
from tests.support.stored import config_of

STRUCK = f"/{ARCHIVES[1]}"
UNTOUCHED = {volume for volume, archives in VOLUMES.items() if 2 not in archives}
TOUCHED = set(VOLUMES) - UNTOUCHED
TOUCHED_SLICES = 13 + 12

# Makes something else of the second archive.
Spoil = Callable[[Served], None]


def always(fault: Any) -> Spoil:
    def spoil(served: Served) -> None:
        served.server.chance = lambda request: fault if request.path == STRUCK else None

    return spoil


def other_archive(served: Served) -> bytes:
    """The second archive with the same slices, packed in another way."""
    data = io.BytesIO()
    with (
        zipfile.ZipFile(served.release / ARCHIVES[1]) as source,
        zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    return data.getvalue()


def change(served: Served) -> None:
    served.server.put(STRUCK, other_archive(served))


def shorten(served: Served) -> None:
    served.server.put(STRUCK, served.server.files[STRUCK][:100_000])


def remove(served: Served) -> None:
    del served.server.files[STRUCK]


def planned_then(spoil: Spoil, served: Served, data: dict[str, Any]) -> Callable[[], Build]:
    """Plan, spoil the server, and leave the build to do."""
    config = config_of(data)
    plan: Plan = load_plan(config)
    spoil(served)
    return lambda: build(config, plan, SerialExecutor())


def reasons(store: Path, kind: str) -> dict[str, int]:
    """Count rejects by reason, except for what the release itself lacks."""
    rejects = open_store(str(store)).rejects()
    found = rejects.loc[rejects["kind"] == kind, "reason"].tolist()
    return dict(Counter(reason for reason in found if reason != "slice_missing"))


def assert_only_touched_is_missing(store: Path, reason: str, expected: Path) -> None:
    assert receipts(store) == UNTOUCHED
    assert reasons(store, "slice") == {reason: TOUCHED_SLICES}
    assert reasons(store, "row") == {"key_slice_rejected": 2}
    assert reasons(store, "archive") == {}
    assert_accounts(store)
    ours, theirs = published_bytes(store), published_bytes(expected)
    assert all(ours[name] == theirs[name] for name in ours if name.startswith("volumes/0"))
    rejects = open_store(str(store)).rejects()
    messages = rejects.loc[rejects["reason"] == reason, "message"]
    assert messages.str.contains(ARCHIVES[1], regex=False).all()
    assert not messages.str.contains("Traceback").any()


def assert_next_run_mends(served: Served, data: dict[str, Any], expected: Path) -> None:
    served.mend()
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (len(TOUCHED), len(UNTOUCHED))
    assert_same_store(Path(data["store"]), expected)
    assert_accounts(Path(data["store"]))
