"""An archive of 3 MB on an HTTP server, at a signed URL."""

from __future__ import annotations

import random

from etl.io.http import HttpBlob
from tests.support.http_faults import Fault
from tests.support.servers import HttpServer

CONTENT = b"PK\x03\x04" + random.Random(1).randbytes(3_000_000)
OTHER = b"PK\x03\x04" + random.Random(2).randbytes(3_000_000)
SIZE = len(CONTENT)
SECRET = "secret-signature"


def put(server: HttpServer, *faults: Fault | None) -> HttpBlob:
    return HttpBlob(server.put("/a.zip", CONTENT, *faults) + f"?sig={SECRET}")
