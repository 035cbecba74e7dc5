"""The part of a config that names annotations by others, without the rest of a build's config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from etl.core.config import File, Limits, More, SourceName


class MoreAnnotations(BaseModel):
    """The part of a config that is needed to join annotations by others; other keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    class _Source(BaseModel):
        model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

        annotations: File | None = Field(None, description="DL_info.csv of the store")
        more: dict[SourceName, More] = Field(min_length=1, description="annotations by others, by name")

    source: _Source = Field(description="where the annotations lie")
    cluster: str = Field("local", description="where masks are read: a name in conf/cluster, or a file")
    limits: Limits = Field(
        default_factory=Limits, description="when a task is not tried again, or the run aborts"
    )
