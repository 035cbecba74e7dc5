"""Types of lesions to learn from: published ones of seeds, and others propagated to lesions without one.

The release has types in val and test only. Some val patients become seeds, which are learned from with their
types; a lesion of train gets the type that the places and sizes of the seeds make most likely, or that its
text-mined tags name, and later that of its nearest seeds, each only where it is clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.derive.lesion_arrays import Ints
from etl.derive.nearest import Vectors, nearest, values_of
from etl.derive.place_model import learn
from etl.learn.embedding_config import Labels
from etl.learn.embedding_examples import Examples
from etl.learn.sequence_sampler import UNKNOWN
from etl.learn.series import TRAIN, VAL

Mask = npt.NDArray[np.bool_]
NEIGHBOURS = 20
TYPES = 8

_OF_TAGS: Mapping[int, str] = {
    1: "bone,spine,sclerotic,lytic,lumbar,thoracic spine,pelvic bone,rib,vertebral body,sacrum,femur,sternum",
    2: "adrenal gland,left adrenal gland,right adrenal gland,pancreas,pancreatic tail,"
    "pancreatic body,pancreatic head,abdomen lymph node,mesentery,mesentery lymph node,porta Hepatis,"
    "porta Hepatis lymph node,paraaortic,retroperitoneum lymph node,spleen,paracaval lymph node,small bowel,"
    "retrocrural lymph node,omentum,stomach,peritoneum,intestine,gallbladder,biliary system,"
    "peripancreatic lymph node,lesser sac",
    3: "mediastinum,mediastinum lymph node,hilum,hilum lymph node,subcarinal lymph node,superior mediastinum,"
    "right hilum lymph node,left hilum lymph node,aorticopulmonary window,superior mediastinum lymph node,"
    "pretracheal lymph node,anterior mediastinum,cardiophrenic,pericardium",
    4: "liver,liver mass,hemangioma",
    5: "lung,right lung,left lung,lung nodule,right lower lobe,right upper lobe,left upper lung,"
    "left lower lobe,right mid lung,lung base,lung mass,fissure,lingula,subpleural,"
    "solid pulmonary nodule,lung apex,ground-glass opacity",
    6: "kidney,right kidney,left kidney,kidney cyst",
    7: "soft tissue,chest wall,axilla,axilla lymph node,muscle,body wall,abdominal wall,extremity,thigh,"
    "paraspinal muscle,subcutaneous,subcutaneous fat,skin,breast,anterior abdominal wall,psoas muscle",
    8: "pelvis lymph node,pelvic wall,iliac lymph node,common iliac lymph node,external iliac lymph node,"
    "adnexa,ovary,cervix,urinary bladder",
}
TYPE_OF_TAG = {tag: code for code, tags in _OF_TAGS.items() for tag in tags.split(",")}
"""Coarse type by the tag of LesaNet that names an organ of it; broader ones, such as `abdomen`, name none."""
TYPE_OF_REST = {"retroperitoneum": 2}
"""Tags that organs of several types have, and name one where no organ is named."""


@dataclass(frozen=True, eq=False)
class Known:
    """Types to begin with.

    Attributes:
        seeds: (n,) if a lesion is one of a seed patient.
        learned: (n,) if a lesion is learned from: those of train, and seeds.
        types: (n,) 0 where a lesion has none, or is not learned from.
    """

    seeds: Mask
    learned: Mask
    types: Ints


def known_types(
    examples: Examples, labels: Labels, seed: int, tags: Mapping[int, Iterable[str]] | None = None
) -> Known:
    """Return the seeds and the types of the lesions that are learned from.

    Args:
        seed: chooses the seed patients.
        tags: of lesions by lesion_id, for the source `tags`.
    """
    types = np.zeros(len(examples), np.int64)
    seeds = seeds_of(examples, labels.seeds, seed)
    learned = (examples.split == TRAIN) | seeds
    types[learned] = examples.types[learned]
    open_rows = np.flatnonzero(learned & (types == UNKNOWN))
    if tags is not None:
        ids = examples.lesions.lesion_id[open_rows].tolist()
        types[open_rows] = [type_of_tags(tags.get(lesion_id, ())) for lesion_id in ids]
        open_rows = np.flatnonzero(learned & (types == UNKNOWN))
    sure = np.flatnonzero(seeds & (examples.types != UNKNOWN))
    if len(sure) and len(open_rows):
        model = learn(examples.lesions.take(sure), examples.types[sure])
        likely = model.probabilities(examples.lesions.take(open_rows))
        clear = likely.max(axis=1) >= labels.confidence
        types[open_rows[clear]] = likely[clear].argmax(axis=1) + 1
    return Known(seeds, learned, types)


def seeds_of(examples: Examples, share: float, seed: int) -> Mask:
    """Return which lesions are of seed patients: a share of those of val, drawn by the seed."""
    patients = np.unique(examples.lesions.patient[examples.split == VAL])
    drawn = np.random.default_rng([seed, len(patients)]).permutation(patients)[: round(share * len(patients))]
    found: Mask = np.isin(examples.lesions.patient, drawn) & (examples.split == VAL)
    return found


def type_of_tags(tags: Iterable[str]) -> int:
    """Return the one type that tags name; 0 where they name none or several."""
    known = list(tags)
    named = {TYPE_OF_TAG[tag] for tag in known if tag in TYPE_OF_TAG}
    named = named or {TYPE_OF_REST[tag] for tag in known if tag in TYPE_OF_REST}
    return named.pop() if len(named) == 1 else UNKNOWN


def refined(examples: Examples, known: Known, rows: Ints, vectors: Vectors, confidence: float) -> Ints:
    """Return all types again, where lesions without a published one have that of their nearest seeds.

    Args:
        rows: lesions that are learned from, as `vectors` are ordered.
        vectors: (rows, d).
        confidence: least share of the nearest seeds that must have the type: twenty, or as many as the
            rarest type has.
    """
    types = np.where(known.learned, examples.types, UNKNOWN)
    is_seed = known.seeds[rows] & (examples.types[rows] != UNKNOWN)
    asked = np.flatnonzero(types[rows] == UNKNOWN)
    gallery = rows[is_seed]
    _, of_each = np.unique(examples.types[gallery], return_counts=True)
    # More than the rarest type has could never agree on it.
    count = min(NEIGHBOURS, int(np.min(of_each, initial=NEIGHBOURS)))
    found, _ = nearest(
        vectors[is_seed],
        examples.lesions.lesion_id[gallery],
        vectors[asked],
        count,
    )
    voted = values_of(found, examples.types[gallery], UNKNOWN)
    counts = np.stack([(voted == code).sum(axis=1) for code in range(1, TYPES + 1)], axis=1)
    clear = counts.max(axis=1) >= confidence * np.maximum((found >= 0).sum(axis=1), 1)
    types[rows[asked]] = np.where(clear, counts.argmax(axis=1) + 1, UNKNOWN)
    return types
