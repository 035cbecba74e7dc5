"""Messages of the log that a test itself caused."""

from __future__ import annotations

import threading

import pytest


def logged_here(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of this thread: event loops of clusters of other tests log in theirs."""
    return [record.getMessage() for record in caplog.records if record.thread == threading.get_ident()]
