"""A model of a store, read by each process that applies it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from etl.derive.onnx_session import Device, session_of
from etl.io.opening import open_objects


@dataclass(frozen=True)
class StoredModel:
    """The ONNX file of a model; a value that travels to workers, which read the file themselves.

    Attributes:
        store: path or URL of the store.
        path: of the file, relative to the store.
        sha256: of the file, as the version names it.
        device: that onnxruntime runs on.
    """

    store: str
    path: str
    sha256: str
    device: Device = "cpu"

    def session(self) -> Any:
        """Return this process's session of the model; see `etl.derive.onnx_session.session_of`.

        Raises:
            OSError: the file can't be read or is not the version's, or there is no such device.
        """
        return session_of(self.sha256, self.device, self._read)

    def _read(self) -> bytes:
        data = open_objects(self.store).read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise OSError(f"{self.path} is not the file that the version names")
        return data
