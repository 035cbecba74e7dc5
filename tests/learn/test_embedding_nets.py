from __future__ import annotations

import numpy as np
import pytest
import torch

from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.embedding_nets import ImageNetFeatures, dimensions_of, make_net, pooled


def test_a_box_is_pooled_exactly() -> None:
    features = torch.arange(16.0).view(1, 1, 4, 4)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert pooled(features, whole, 4).equal(features)
    assert pooled(features, whole, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    # From the middle of column 1 to the end of column 2, rows 2 and 3: 9 counts half as much as 10.
    part = torch.tensor([[0.375, 0.5, 0.75, 1.0]])
    expected = np.mean([(9 + 2 * 10) / 3, (13 + 2 * 14) / 3])
    assert float(pooled(features, part, 1)) == pytest.approx(expected)


def test_boxes_of_any_size_give_means() -> None:
    features = torch.rand(3, 2, 7, 7)
    boxes = torch.tensor([[0.3, 0.3, 0.3, 0.3], [0.0, 0.0, 1.0, 1.0], [0.99, 0.0, 1.0, 0.01]])
    found = pooled(features, boxes, 3)
    assert found.shape == (3, 2, 3, 3)
    assert torch.isfinite(found).all()
    assert (found <= features.amax((2, 3))[:, :, None, None] + 1e-4).all()


@pytest.mark.parametrize(
    ("values", "dimensions", "parameters"),
    [({"dimensions": 8}, 32, 490_880), ({"net": "vgg16", "dimensions": 256}, 1024, 23_731_136)],
)
def test_a_net_gives_unit_vectors(values: dict, dimensions: int, parameters: int) -> None:
    config = EmbeddingConfig.model_validate(values)
    torch.manual_seed(1)
    net = make_net(config).eval()
    assert dimensions_of(config) == dimensions
    assert sum(p.numel() for p in net.parameters()) == parameters
    crops, boxes = torch.rand(2, 3, 50, 50), torch.tensor([[0.3, 0.3, 0.6, 0.6], [0.1, 0.1, 0.9, 0.8]])
    with torch.inference_mode():
        found = net(crops, boxes)
        assert found.shape == (2, dimensions)
        assert found.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
        assert not net(crops, boxes.flip(0)).equal(found), "the box decides, too"


def test_frozen_features_have_no_weights_to_train() -> None:
    net = ImageNetFeatures().train()
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.lite._blocks.training
