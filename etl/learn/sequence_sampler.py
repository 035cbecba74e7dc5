"""Sequences of lesions that are less and less alike, as Yan et al., CVPR 2018, sample them for their loss.

A   the lesion that is compared
B   same type, near place, similar size
C   same type, near place, other size
D   same type, other place
E   other type
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.derive.lesion_arrays import Floats, Ints, LesionArrays

UNKNOWN = 0
BLOCK = 512
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """Limits of likeness; what lies between near and far is neither. Places as published, sizes in mm.

    Attributes:
        near_place, far_place: Euclidean distance of published places.
        near_mm, far_mm: difference of long diameters.
    """

    near_place: float
    far_place: float
    near_mm: float
    far_mm: float


class Sampler:
    """Draws sequences among lesions, all of other patients than A.

    Attributes:
        whole: (n,) if a lesion has each of B to E.
    """

    def __init__(self, lesions: LesionArrays, types: Ints, rules: Rules) -> None:
        self._place, self._patient, self._types = lesions.place, lesions.patient, types
        self._size_mm: Floats = np.exp(lesions.log_diameters[:, 0])
        self._rules = rules
        self.whole: Mask = np.zeros(len(types), np.bool_)
        for kind in np.unique(types[types != UNKNOWN]):
            rows = np.flatnonzero(types == kind)
            others = np.flatnonzero((types != kind) & (types != UNKNOWN))
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                near, similar, differs, far = self._relations(block, rows)
                apart = self._patient[block][:, None] != self._patient[others][None]
                self.whole[block] = (
                    (near & similar).any(1) & (near & differs).any(1) & far.any(1) & apart.any(1)
                )

    def _relations(self, of: Ints, among: Ints) -> tuple[Mask, Mask, Mask, Mask]:
        """Return (of, among): near place, similar and other size, other place; never of one's own patient."""
        rules = self._rules
        off = np.sqrt(((self._place[of][:, None] - self._place[among][None]) ** 2).sum(-1))
        size = np.abs(self._size_mm[of][:, None] - self._size_mm[among][None])
        other = self._patient[of][:, None] != self._patient[among][None]
        near, far = (off < rules.near_place) & other, (off > rules.far_place) & other
        return near, size < rules.near_mm, size > rules.far_mm, far

    def choose(self, count: int, random: np.random.Generator) -> Ints:
        """Return (count, 5) rows A to E. Types of A are drawn evenly, and its lesions evenly within one.

        Raises:
            ValueError: no lesion has a whole sequence.
        """
        possible = np.flatnonzero(self.whole)
        if not len(possible):
            raise ValueError("no lesion has a whole sequence")
        kinds = np.unique(self._types[possible])
        drawn = np.empty((count, 5), np.int64)
        for number in range(count):
            kind = random.choice(kinds)
            a = int(random.choice(possible[self._types[possible] == kind]))
            same = np.flatnonzero(self._types == kind)
            near, similar, differs, far = (mask[0] for mask in self._relations(np.array([a]), same))
            strange = (self._types != kind) & (self._types != UNKNOWN) & (self._patient != self._patient[a])
            groups = (same[near & similar], same[near & differs], same[far], np.flatnonzero(strange))
            drawn[number] = [a, *(int(random.choice(group)) for group in groups)]
        return drawn
