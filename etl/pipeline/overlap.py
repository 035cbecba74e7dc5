"""What runs on the store beside a build: other builds, and a prune that took it for dead."""

from __future__ import annotations

import logging

from etl.core.config import Config
from etl.core.errors import OverlapError
from etl.store.running import Running

logger = logging.getLogger(__name__)


def heed_overlap(config: Config, own: Running) -> None:
    """Go on beside another build that is at work, or wait for its end, as `overlap` in the config says.

    Raises:
        OverlapError: there is one, and the config says to leave then.
        StoreError: the store can't be read or written.
    """
    if config.overlap == "wait":
        own.wait_for("build", only_earlier=True)
        return
    others = own.earlier("build")
    if others and config.overlap == "leave":
        raise OverlapError(
            "another build is at work on this store; nothing was done",
            where=config.store,
            value="; ".join(map(str, others)),
            remedy="come back when it has ended, or set `overlap` to `wait` or `beside`",
        )
    for other in others:
        logger.info("beside this run there is %s", other)
