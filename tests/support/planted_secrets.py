"""Places where a secret can enter a build, each with a marker in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.http_faults import Answer
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer

MARK = "hunter2/sEcReT+MARKER"
PLAIN = "hunter2sEcReTMARKER"


@dataclass(frozen=True)
class Planted:
    """Archives as the environment names them, what else is given to the build, and its exit code.

    Attributes:
        arguments: of the command line.
        cluster: text of the cluster's file.
    """

    archive: str
    code: int
    variables: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    cluster: str = "kind: serial"


@dataclass(frozen=True)
class Place:
    folder: Path
    server: HttpServer
    bucket: Bucket
    zip_bytes: bytes

    @property
    def good(self) -> str:
        return self.server.put("/a.zip", self.zip_bytes)

    @property
    def empty(self) -> str:
        return self.server.put("/empty.zip", b"PK\x05\x06" + bytes(18))

    @property
    def csv(self) -> str:
        return self.server.put("/DL_info.csv", (self.folder / "release" / "DL_info.csv").read_bytes())

    def refusing(self, status: int) -> str:
        url = self.server.put("/refused.zip", self.zip_bytes)
        self.server.faults["/refused.zip"] = [Answer(status, body=PLAIN.encode())] * 20
        return url

    def redirecting(self) -> str:
        target = self.server.put(f"/{PLAIN}/a.zip", self.zip_bytes) + f"?token={PLAIN}&other={PLAIN}"
        url = self.server.put("/away.zip", b"")
        self.server.faults["/away.zip"] = [Answer(302, {"Location": target})] * 20
        return url

    def with_netrc(self) -> dict[str, str]:
        file = self.folder / "netrc"
        file.write_text(f"machine 127.0.0.1 login me password {PLAIN}\n")
        file.chmod(0o600)
        return {"NETRC": str(file)}


def with_user(url: str) -> str:
    return url.replace("://", f"://me:{PLAIN}@")


PLACES: dict[str, Callable[[Place], Planted]] = {
    "redirect's path and query": lambda p: Planted(p.redirecting(), 0),
    "signature": lambda p: Planted(f"{p.good}?X-Amz-Signature={PLAIN}", 0),
    "password of a URL": lambda p: Planted(with_user(p.good), 0),
    "unknown parameter, no slice": lambda p: Planted(f"{p.empty}?whatever={PLAIN}", 2),
    "signature, no slice": lambda p: Planted(f"{p.empty}?sig={PLAIN}", 2),
    "password, refused": lambda p: Planted(with_user(p.refusing(403)), 2),
    "unknown parameter, gone": lambda p: Planted(f"{p.refusing(410)}?v={PLAIN}", 2),
    "netrc": lambda p: Planted(p.refusing(404), 2, p.with_netrc()),
    "user of a bucket": lambda p: Planted(f"s3://KEY:{MARK}@{p.bucket.name}/a.zip", 2),
    "key of S3": lambda p: Planted(
        f"{p.bucket.url}/none.zip", 2, {"AWS_SECRET_ACCESS_KEY": MARK, "AWS_SESSION_TOKEN": PLAIN}
    ),
    "proxy": lambda p: Planted(p.good, 2, {"http_proxy": f"http://me:{PLAIN}@127.0.0.1:9", "no_proxy": ""}),
    "proxy without a scheme": lambda p: Planted(
        p.good, 2, {"http_proxy": f"me:{PLAIN}@127.0.0.1:9", "no_proxy": ""}
    ),
    "annotations": lambda p: Planted(
        p.good, 2, {"DEEPLESION__SOURCE__ANNOTATIONS": f"{p.refusing(404)}?token={PLAIN}"}
    ),
    "annotations, read": lambda p: Planted(
        p.good, 0, {"DEEPLESION__SOURCE__ANNOTATIONS": f"{with_user(p.csv)}?v={PLAIN}"}
    ),
    "annotations with another secret key": lambda p: Planted(
        p.good, 2, {"DEEPLESION__SOURCE__ANNOTATIONS": json.dumps({"path": p.csv, "password": PLAIN})}
    ),
    "store": lambda p: Planted(p.good, 2, {"DEEPLESION__STORE": f"s3://KEY:{MARK}@{p.bucket.name}/store"}),
    "command line": lambda p: Planted(
        p.good, 2, arguments=("--set", f"source.archives=['{with_user(p.good)}?sig={PLAIN}']")
    ),
    "command line, half a URL": lambda p: Planted(
        p.good, 2, arguments=("--set", f"source.archives=['{with_user(p.good)}?sig={PLAIN}")
    ),
    "command line, unknown option": lambda p: Planted(
        p.good, 2, arguments=(f"--archives={with_user(p.good)}",)
    ),
    "command line, another config": lambda p: Planted(p.good, 2, arguments=(with_user(p.good),)),
    "key of a cluster": lambda p: Planted(p.good, 2, cluster=f"kind: class\npassword: {PLAIN}"),
    "argument of a cluster": lambda p: Planted(
        p.good, 2, cluster=f"kind: class\nclass: no.Such\narguments: {{token: {PLAIN}}}"
    ),
    "scheduler": lambda p: Planted(
        p.good, 2, cluster=f"kind: scheduler\naddress: tls://me:{PLAIN}@127.0.0.1:9"
    ),
    "half a cluster's file": lambda p: Planted(p.good, 2, cluster=f"kind: class\npassword: '{PLAIN}"),
}
