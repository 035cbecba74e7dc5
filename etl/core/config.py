"""The config of a build: strict, typed, frozen. `etl.core.config_file` reads it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_serializer,
    model_validator,
)

from etl.core.urls import credential_in, is_local, public_url

CREDENTIALS_BELONG = (
    "S3 takes credentials from AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or the machine's "
    "role; a web server from ~/.netrc; signed links of archives go into the environment, as "
    "DEEPLESION__SOURCE__ARCHIVES='[https://...]'"
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _without_credentials(place: str) -> str:
    if kind := credential_in(place):
        raise ValueError(f"it has {kind}; {CREDENTIALS_BELONG}")
    return place


# Versions and logs keep these as they are written.
Place = Annotated[str, Field(min_length=1), AfterValidator(_without_credentials)]


class File(_Section):
    """A file of the release: written as its path or URL alone, or with the SHA-256 that it must have."""

    # Not in what is printed of a config: a URL from the environment may be signed.
    url: str = Field(min_length=1, description="path or URL", repr=False)
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="checked when the file arrives; of an archive, where it is copied to `staging` first",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_serializer
    def _to_text(self) -> str | dict[str, str]:
        # Logs and versions keep what this gives: no user, password or signature.
        url = public_url(self.url)
        return url if self.sha256 is None else {"url": url, "sha256": self.sha256}


class Source(_Section):
    """Where the release lies. Give `images` or `archives`, not both."""

    annotations: File = Field(description="DL_info.csv: path or URL, or {url, sha256}")
    images: Place | None = Field(None, description="folder of extracted slices, SERIES/NNN.png")
    archives: tuple[File, ...] | None = Field(
        None,
        min_length=1,
        description="zips: paths, globs, URLs, {url, sha256}, or `official`: the NIH download links",
    )
    staging: Place | None = Field(
        None,
        description="folder or s3:// URL that all workers reach, where remote archives are copied first",
    )
    downloads: int = Field(4, ge=1, le=64, description="archives fetched at once, over the whole cluster")
    keep_archives: bool = Field(
        True,
        description="false: remove a staged archive after its last volume; "
        "a server without ranges sends each twice then",
    )
    complete: bool = Field(False, description="the whole release is expected: an absent series is a reject")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.images is None) == (self.archives is None):
            raise ValueError("give `images` (extracted slices) or `archives` (zips), one of the two")
        for file in self.archives or ():
            if file.sha256 is not None and (self.staging is None or is_local(file.url)):
                raise ValueError(_unchecked(file))
        return self


def _unchecked(file: File) -> str:
    """Why an archive that does not pass through the staging area takes no checksum."""
    remedy = (
        "leave sha256 out, and compare a local file by `sha256sum`"
        if is_local(file.url)
        else "set `staging`, or leave sha256 out"
    )
    return (
        f"the sha256 of {public_url(file.url)} would not be checked: the archive is read where it lies, and "
        "what is checked then is the CRC-32 of each slice; allowed: on archives that are copied "
        f"to `staging`; {remedy}"
    )


class Codec(_Section):
    """Blosc settings of the inner chunks."""

    name: Literal["zstd", "lz4", "lz4hc", "zlib"] = Field("zstd", description="compressor")
    level: int = Field(1, ge=1, le=9, description="1 is fastest, 9 is smallest")
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"] = Field(
        "bitshuffle", description="how bytes or bits of neighbouring voxels are regrouped first"
    )


def _spacing(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "native" or (is_number and 0.05 <= value <= 100):
        return value
    raise ValueError("a number of millimetres from 0.05 to 100, or `native` to keep the source's spacing")


class Volume(_Section):
    """How a run of slices becomes a volume. Every value here is part of the volume's fingerprint."""

    spacing_mm: Annotated[float | Literal["native"], BeforeValidator(_spacing)] = Field(
        1.0, description="isotropic spacing, or `native`"
    )
    interpolation: Literal["nearest", "linear", "cubic"] = Field(
        "linear", description="between the source's voxels"
    )
    antialias: bool = Field(True, description="low-pass the axes that are reduced")
    clip_hu: tuple[int, int] = Field((-1024, 3071), description="applied before interpolation")
    chunk: tuple[int, int, int] = Field((64, 64, 64), description="inner chunk in voxels (z, y, x)")
    codec: Codec = Field(Codec(), description="compression of the inner chunks")
    pyramid_levels: int = Field(1, ge=1, le=8, description="1 stores full resolution only")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        low, high = self.clip_hu
        if not -32768 <= low < high <= 32767:
            raise ValueError(
                f"clip_hu is [low, high] with -32768 <= low < high <= 32767, not [{low}, {high}]"
            )
        if not all(4 <= n <= 1024 for n in self.chunk):
            raise ValueError(f"each of chunk's three numbers is 4 to 1024 voxels, not {list(self.chunk)}")
        return self


class Select(_Section):
    """Which part of the release to build; null takes everything."""

    patients: tuple[int, ...] | None = Field(None, description="patient numbers")
    series: tuple[Annotated[str, Field(pattern=r"^[0-9]{6}_[0-9]{2}_[0-9]{2}$")], ...] | None = Field(
        None, description="series, as PPPPPP_SS_RR"
    )
    splits: tuple[Literal["train", "val", "test"], ...] | None = Field(None, description="official splits")
    limit: int | None = Field(None, ge=1, description="at most this many volumes, in the store's order")


class Limits(_Section):
    """What refuses a volume, and what refuses to publish. Guards are overridden by name, never silently."""

    rejects: float = Field(0.01, ge=0, le=1, description="largest share of rows, or of slices, rejected")
    lost_archives: int = Field(0, ge=0, description="most archives that could not be read")
    location_disagreement: float = Field(
        0.05,
        ge=0,
        le=1,
        description="largest share of lesions whose published location is not that of their key slice",
    )
    worker_deaths: int = Field(
        3, ge=2, description="a volume that takes its worker down so often, the last time alone, is rejected"
    )
    volume_timeout_s: float = Field(
        1800, gt=0, description="a volume that twice does not end within this time is rejected"
    )
    wait_for_workers_s: float = Field(
        3600, gt=0, description="a run that has been without any worker for so long ends"
    )
    allow_fewer_volumes: bool = Field(False, description="publish fewer volumes than the current version")
    allow_fewer_lesions: bool = Field(False, description="publish fewer lesions than the current version")
    allow_schema_change: bool = Field(False, description="publish tables of other columns or types")


class Config(_Section):
    """One build: where the release lies, what to make of it, where the store is."""

    store: Place = Field(description="the store's folder")
    source: Source = Field(description="where the release lies")
    volume: Volume = Field(Volume(), description="how a run of slices becomes a volume")
    select: Select = Field(Select(), description="which part of the release to build")
    limits: Limits = Field(Limits(), description="what refuses to publish")
    report: bool = Field(True, description="write the version's report at the end")
    cluster: str = Field(
        "local", min_length=1, description="where work happens: a name in conf/cluster, or a file"
    )

    overlap: Literal["beside", "wait", "leave"] = Field(
        "beside",
        description="where another build is at work on the store: go on, wait, or exit with 5",
    )

    def resolved(self) -> dict[str, Any]:
        """Every value, defaults included, as plain JSON types."""
        return self.model_dump(mode="json")
