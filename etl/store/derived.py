"""The methods of a store's reader for tables that jobs computed, and for models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etl.store.asked import lesion_id_of

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.models import Model
    from etl.store.reader import Store


class DerivedTables:
    """The methods of `Store` that read tables of jobs, and models."""

    def sequences(self: Store, patient: int | None = None) -> pd.DataFrame:  # type: ignore[misc]
        """Return lesions matched over time, one row a lesion: the table `sequences`, sorted by lesion_id.

        Args:
            patient: only lesions of this patient_index.

        Raises:
            StoreError: lesions were not matched, or none of this patient was.
        """
        from etl.store.lesion_sequences import sequences_of

        return sequences_of(self, patient)

    def growth(self: Store) -> pd.DataFrame:  # type: ignore[misc]
        """Return the diameters of each lesion over studies, and their change; no clinical assessment.

        Returns:
            One row for each study of each sequence that spans two studies or more, sorted by sequence_id and
            position: patient_index, study_index, lesions (measured in the study; the longest diameters
            count), long_diameter_mm, short_diameter_mm, change_from_first_percent,
            change_from_smallest_percent and change_from_smallest_mm (of the long diameter; the smallest of
            all earlier studies), over_progression_threshold (at least 20 % and 5 mm over the smallest),
            over_response_threshold (at least 30 % below the first), confidence, age_falls. The thresholds
            are those of RECIST 1.1 (Eisenhauer et al., 2009), which judges sums of lesions.

        Raises:
            StoreError: lesions were not matched.
        """
        from etl.store.lesion_sequences import growth_of

        return growth_of(self)

    def similar(  # type: ignore[misc]
        self: Store,
        lesion: Any,
        k: int = 9,
        *,
        model: str = "place",
        split: str | None = None,
        same_patient: bool = False,
        spacing_mm: tuple[float, float, float] | None = None,
        size_mm: float | tuple[float, float] | None = None,
    ) -> pd.DataFrame:
        """Return the k lesions nearest to one, nearest first; equal distances by lesion_id.

        Args:
            lesion: a lesion_id, or one row of `lesions()`; or voxels, which need not be of this store: HU
                (z, y, x), with the lesion in the middle, or (HU, its middle (z, y, x) in voxels).
            model: `place`, or one whose table `embeddings/<model>` the version has, as voxels need.
            split: only lesions of train, val or test.
            same_patient: if lesions of its own patient may be found, too.
            spacing_mm: of voxels (z, y, x); what `crop` and `volume` return says it itself.
            size_mm: for voxels the extent of the lesion along (y, x), or one for both; 20 if it is not said.

        Returns:
            lesion_id, distance, patient_index, study_index, split, coarse_type, long_diameter_mm,
            short_diameter_mm, norm_x, norm_y, norm_z, volume_id. Fewer than k rows where there are no more.

        Raises:
            StoreError: there is no such lesion or split, or there are no vectors of the lesion or the model.
            ConfigError: k, the model's name, spacing or size is not allowed.
        """
        from etl.store.lesion_embeddings import similar_to
        from etl.store.similar_voxels import SIZE_MM, is_voxels, similar_to_voxels

        if is_voxels(lesion):
            size = SIZE_MM if size_mm is None else size_mm
            return similar_to_voxels(
                self,
                lesion,
                k,
                model=model,
                split=split,
                same_patient=same_patient,
                spacing_mm=spacing_mm,
                size_mm=size,
            )
        number = lesion_id_of(lesion)
        return similar_to(self, number, k, model=model, split=split, same_patient=same_patient)

    def body_positions(  # type: ignore[misc]
        self: Store, volume_id: str | None = None, split: str | None = None
    ) -> pd.DataFrame:
        """Return where in the body source slices lie, as a model sees it, one row a slice.

        Args:
            volume_id: only those of this volume.
            split: only volumes with lesions of it.

        Raises:
            StoreError: slices were not scored, or the version has no such volume or split.
        """
        from etl.store.body_positions import body_positions_of

        return body_positions_of(self, volume_id, split)

    def volume_at(self: Store, norm_z: float, tolerance: float = 0.01) -> pd.DataFrame:  # type: ignore[misc]
        """Return the volumes that show a position of the body, nearest first, each with its nearest slice.

        Args:
            norm_z: on the release's scale, 0 to 1 from head to feet.
            tolerance: most that the slice may be off.

        Returns:
            volume_id, slice_index, mm, norm_z, region; only of volumes whose slices are in order.

        Raises:
            StoreError: slices were not scored, or an argument is no such number.
        """
        from etl.store.body_positions import volumes_at

        return volumes_at(self, norm_z, tolerance)

    def model(self: Store, model: str) -> Model:  # type: ignore[misc]
        """Return a model of this version by its name or id: name, model_id, path, files.

        Raises:
            StoreError: there is no such model.
        """
        from etl.store.models import choose_model

        return choose_model(self.objects, self.version, model)

    def model_file(self: Store, model: str, name: str) -> bytes:  # type: ignore[misc]
        """Return the bytes of a model's file, such as model.onnx, checked against the version's SHA-256.

        Raises:
            StoreError: there is no such model or file, or it is missing or damaged.
        """
        from etl.store.models import model_file

        return model_file(self.objects, self.model(model), name)

    def model_config(self: Store, model: str) -> dict[str, Any]:  # type: ignore[misc]
        """Return the config.json of a model. StoreError where there is no such model, or it is damaged."""
        from etl.store.models import model_config

        return model_config(self.objects, self.model(model))
