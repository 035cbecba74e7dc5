"""The events of a build, for whoever shows its progress."""

from __future__ import annotations

from collections.abc import Sequence

from etl.convert.results import Conversion
from etl.plan.plan import Plan
from etl.staging.fetch import Fetched, RemoteArchive


class Callback:
    """Receives the events of a build in the driver's main thread; each method does nothing by default."""

    def on_unread(self, archives: Sequence[RemoteArchive], *, directories_only: bool) -> None:
        """Receive archives to fetch before planning; `directories_only`: nothing else of them is kept."""

    def on_plan(self, plan: Plan) -> None:
        """Receive the plan of a build that starts."""

    def on_fetch(self, fetched: Fetched) -> None:
        """Receive what a task fetched of an archive."""

    def on_conversion(self, conversion: Conversion) -> None:
        """Receive a run that was converted, reused or rejected."""

    def on_stage(self, name: str) -> None:
        """Receive the name of a stage that starts: `reuse`, `work` or `publish`."""
