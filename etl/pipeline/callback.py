"""The events of a build, for whoever shows its progress."""

from __future__ import annotations

from collections.abc import Sequence

from etl.convert.results import Conversion
from etl.plan.plan import Plan
from etl.staging.fetch import Fetched, RemoteArchive


class Callback:
    """Receives the events of a build in the driver's main thread; each method does nothing by default."""

    def on_unread(self, archives: Sequence[RemoteArchive], *, directories_only: bool) -> None:
        """Archives will be fetched before planning; `directories_only`: nothing else of them is kept."""

    def on_plan(self, plan: Plan) -> None:
        """A build of this plan starts."""

    def on_fetch(self, fetched: Fetched) -> None:
        """A task has fetched the next part of an archive."""

    def on_conversion(self, conversion: Conversion) -> None:
        """A run was converted, reused or rejected."""

    def on_stage(self, name: str) -> None:
        """A stage of the build starts: `reuse`, `work` or `publish`."""
