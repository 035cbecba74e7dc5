"""The config of a build: strict, typed, frozen. `etl.core.config_file` reads it from a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    model_serializer,
    model_validator,
)

from etl.core.errors import ConfigError
from etl.core.secrets import credential_in
from etl.core.spacings import WantedSpacing, parse_spacing
from etl.core.urls import is_local, parse_place, public_url

CREDENTIALS_BELONG = (
    "S3 takes credentials from AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or the machine's "
    "role; a web server from ~/.netrc; signed links of archives go into the environment, as "
    "DEEPLESION__SOURCE__ARCHIVES='[https://...]'"
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _normal_place(place: str) -> str:
    try:
        return parse_place(place)
    except ConfigError as error:
        raise ValueError("; ".join(filter(None, (error.what, error.remedy)))) from None


def public_place(place: str) -> str:
    """Return a place in its normal form. Raise ValueError where it is none, or has credentials."""
    if kind := credential_in(place):
        raise ValueError(f"it has {kind}; {CREDENTIALS_BELONG}")
    return _normal_place(place)


# Versions and logs repeat these, so they carry no credentials. One validator: of several, pydantic 2.11 keeps
# the last alone where a field has a `Field()` of its own, too.
Place = Annotated[str, Field(min_length=1), AfterValidator(public_place)]


def _folders(value: Any) -> str | tuple[str, ...] | None:
    """Return one place, or several as a tuple."""
    places = [value] if isinstance(value, str) else value
    if value is None:
        return None
    if not isinstance(places, list | tuple) or not places or not all(isinstance(p, str) for p in places):
        raise ValueError("give a folder, a glob, or a list of folders and globs")
    normal = tuple(public_place(place) for place in places)
    if remote := [place for place in normal if not is_local(place)]:
        raise ValueError(f"extracted slices are read from folders, not from {public_url(remote[0])}")
    return normal[0] if isinstance(value, str) else normal


class File(_Section):
    """A file of the release: its path or URL alone, or with its expected SHA-256."""

    # Never printed: a URL from the environment may be signed.
    url: Annotated[str, AfterValidator(_normal_place)] = Field(
        min_length=1, description="path or URL", repr=False
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="expected SHA-256; of an archive, checked where it is copied to `staging` first",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_serializer
    def _to_text(self) -> str | dict[str, str]:
        # Logs and versions repeat this: no user, password or signature.
        url = public_url(self.url)
        return url if self.sha256 is None else {"url": url, "sha256": self.sha256}


class More(_Section):
    """Annotations by others: what kind of file they are, and where they lie."""

    kind: Literal[
        "lesanet_tags",
        "dlt_pairs",
        "harvester_boxes",
        "manual_3d_boxes",
        "aim_rows",
        "coco_boxes",
        "uls23_masks",
        "dl_info_like",
    ] = Field(description="what kind of file")
    file: File | None = Field(None, description="path or URL, or {url, sha256}")
    files: tuple[File, ...] | None = Field(
        None, min_length=1, description="several of one kind; of masks folders, tars and zips too"
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.file is None) == (self.files is None):
            raise ValueError("give `file` or `files`, one of the two")
        return self

    @property
    def places(self) -> tuple[File, ...]:
        """Every file, in order."""
        return self.files or ((self.file,) if self.file else ())


SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Source(_Section):
    """Place of the release. Give `images` or `archives`, not both."""

    annotations: File = Field(description="DL_info.csv: path or URL, or {url, sha256}")
    images: Annotated[
        str | tuple[str, ...] | None,
        PlainValidator(_folders),
        PlainSerializer(lambda places: list(places) if isinstance(places, tuple) else places),
    ] = Field(None, description="folder of extracted slices, SERIES/NNN.png; or a glob, or a list of them")
    archives: tuple[File, ...] | None = Field(
        None,
        min_length=1,
        description="zips: paths, globs, URLs, {url, sha256}, or `official`: the NIH download links",
    )
    staging: Place | None = Field(
        None,
        description="folder or s3:// URL that all workers reach; remote archives are copied there first",
    )
    downloads: int = Field(4, ge=1, le=64, description="archives that the whole cluster fetches at once")
    keep_archives: bool = Field(
        True,
        description="false: remove a staged archive after its last volume; "
        "a server without ranges then sends each archive twice",
    )
    more: dict[SourceName, More] = Field(
        default_factory=dict,
        description="annotations by others, by the name that they get in the tables; read by deeplesion add",
    )
    complete: bool = Field(False, description="the source is the whole release: an absent series is a reject")
    partial: bool = Field(
        False,
        description="the source is a part of the release, such as its key slices: rows and slices that are "
        "not in it are not selected, and no rejects",
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.images is None) == (self.archives is None):
            raise ValueError("give `images` (extracted slices) or `archives` (zips), one of the two")
        if self.complete and self.partial:
            raise ValueError("`complete` and `partial` exclude each other: set one of the two")
        for file in self.archives or ():
            if file.sha256 is not None and (self.staging is None or is_local(file.url)):
                raise ValueError(_unchecked(file))
        return self


def _unchecked(file: File) -> str:
    """Return the error about a checksum of an archive that does not pass through the staging area."""
    remedy = (
        "leave sha256 out, and compare a local file by `sha256sum`"
        if is_local(file.url)
        else "set `staging`, or leave sha256 out"
    )
    return (
        f"the sha256 of {public_url(file.url)} would not be checked: the archive is read in place, and the "
        f"CRC-32 of each slice is checked instead; allowed: on archives copied to `staging`; {remedy}"
    )


class Codec(_Section):
    """Blosc settings of the inner chunks."""

    name: Literal["zstd", "lz4", "lz4hc", "zlib"] = Field("zstd", description="compressor")
    level: int = Field(1, ge=1, le=9, description="1 is fastest, 9 is smallest")
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"] = Field(
        "bitshuffle", description="regrouping of the bytes or bits of neighbouring voxels before compression"
    )


class Volume(_Section):
    """Conversion of a run of slices to a volume. Every value here is part of the volume's fingerprint."""

    spacing_mm: Annotated[WantedSpacing, BeforeValidator(parse_spacing)] = Field(
        1.0, description="isotropic spacing, `native`, or three of these for (z, y, x)"
    )
    interpolation: Literal["nearest", "linear", "cubic"] = Field(
        "linear", description="kernel between the source's voxels"
    )
    antialias: bool = Field(True, description="low-pass the axes that are reduced")
    clip_hu: tuple[int, int] = Field(
        (-1024, 3071), description="[low, high] HU; values are clipped to it before interpolation"
    )
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
        # A buffer of 2 GiB is more than Blosc takes.
        if not all(4 <= n <= 1024 for n in self.chunk) or min(self.chunk) == 1024:
            raise ValueError(
                f"each of chunk's three numbers is 4 to 1024 voxels, and not all are 1024: {list(self.chunk)}"
            )
        return self


class Select(_Section):
    """Part of the release to build; null takes everything."""

    patients: tuple[int, ...] | None = Field(None, description="patient numbers")
    series: tuple[Annotated[str, Field(pattern=r"^[0-9]{6}_[0-9]{2}_[0-9]{2}$")], ...] | None = Field(
        None, description="series, as PPPPPP_SS_RR"
    )
    splits: tuple[Literal["train", "val", "test"], ...] | None = Field(None, description="official splits")
    limit: int | None = Field(None, ge=1, description="at most this many volumes, in the store's order")


class Limits(_Section):
    """Bounds that reject a volume, end a run, or refuse to publish. A guard is overridden by name only."""

    rejects: float = Field(0.01, ge=0, le=1, description="largest share of rows, or of slices, rejected")
    lost_archives: int = Field(0, ge=0, description="largest number of archives that could not be read")
    location_disagreement: float = Field(
        0.05,
        ge=0,
        le=1,
        description="largest share of lesions whose published location disagrees with their key slice",
    )
    worker_deaths: int = Field(
        3,
        ge=2,
        description="reject a volume after it has killed this many workers (the last attempt runs alone)",
    )
    volume_timeout_s: float = Field(
        1800, gt=0, description="reject a volume that twice takes longer than this"
    )
    wait_for_workers_s: float = Field(
        3600, gt=0, description="end a run that has had no worker for this long"
    )
    allow_fewer_volumes: bool = Field(False, description="publish fewer volumes than the current version")
    allow_fewer_lesions: bool = Field(False, description="publish fewer lesions than the current version")
    allow_schema_change: bool = Field(False, description="publish tables of other columns or types")


class Config(_Section):
    """One build: the release, its conversion, and the store."""

    store: Place = Field(description="folder or s3:// URL of the store")
    source: Source = Field(description="place of the release")
    volume: Volume = Field(Volume(), description="conversion of a run of slices to a volume")
    select: Select = Field(Select(), description="part of the release to build")
    limits: Limits = Field(Limits(), description="bounds that refuse to publish")
    report: bool = Field(True, description="write a report of the version at the end")
    cluster: str = Field(
        "local", min_length=1, description="cluster to run on: a name in conf/cluster, or a file"
    )
    overlap: Literal["beside", "wait", "leave"] = Field(
        "beside",
        description="while another build runs on the store: go on, wait, or exit with 5",
    )

    def resolved(self) -> dict[str, Any]:
        """Return every value, defaults included, as plain JSON types."""
        return self.model_dump(mode="json")

    def recorded(self) -> dict[str, Any]:
        """Return what a version keeps: every value but unused keys of `source` that came after versions."""
        found = self.resolved()
        unused = {key for key in ("more", "partial") if not found["source"][key]}
        kept = {key: value for key, value in found["source"].items() if key not in unused}
        return found | {"source": kept}
