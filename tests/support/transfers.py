"""Settings of transfers for tests: waits between attempts that are tiny, and silence that counts at once."""

from __future__ import annotations

from etl.io.retries import TransferSettings

USUAL = TransferSettings()
SHORT_WAITS = TransferSettings(first_wait_s=0.001, longest_wait_s=0.01, outage_s=0.0)
IMPATIENT = TransferSettings(first_wait_s=0.001, longest_wait_s=0.01, outage_s=0.0, stall_s=0.5)
