"""Training of models on a store or on folders of CT series. It needs the extra `learn`: PyTorch."""
