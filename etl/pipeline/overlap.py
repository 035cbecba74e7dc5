"""The policy for other builds that run on the same store."""

from __future__ import annotations

import logging

from etl.core.config import Config
from etl.core.errors import OverlapError
from etl.store.running import Running

logger = logging.getLogger(__name__)


def apply_policy(config: Config, own: Running) -> None:
    """Continue, wait or leave if another build runs on the store, as `overlap` in the config says.

    Raises:
        OverlapError: another build runs, and the policy is to leave.
        StoreError: the store can't be read or written.
    """
    if config.overlap == "wait":
        own.wait_for("build", only_earlier=True)
        return
    others = own.earlier("build")
    if others and config.overlap == "leave":
        raise OverlapError(
            "another build runs on this store; nothing was done",
            where=config.store,
            value="; ".join(map(str, others)),
            remedy="come back when it has ended, or set `overlap` to `wait` or `beside`",
        )
    for other in others:
        logger.info("at the same time on this store: %s", other)
