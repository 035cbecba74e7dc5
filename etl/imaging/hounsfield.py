"""Hounsfield units and their statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etl.imaging.kernels import integer_moments
from etl.imaging.png import STORED_ZERO_HU


@dataclass(frozen=True)
class HuStatistics:
    """Statistics of all voxels of an array, in HU.

    Attributes:
        minimum: smallest value.
        maximum: largest value.
        mean: arithmetic mean.
        standard_deviation: population standard deviation (divided by n).
    """

    minimum: int
    maximum: int
    mean: float
    standard_deviation: float


@dataclass(frozen=True)
class HuMoments:
    """Whole-number sums behind statistics, so that parts of a volume add up exactly.

    Attributes:
        count: number of voxels, at least one.
        minimum, maximum: smallest and largest HU.
        total, squares: sum of HU, and sum of their squares.
    """

    count: int
    minimum: int
    maximum: int
    total: int
    squares: int

    @classmethod
    def of(cls, hu: NDArray[np.int16]) -> HuMoments:
        """Return the moments of an array of any shape. Raises ValueError where it is empty or not int16."""
        if hu.dtype != np.int16 or hu.size == 0:
            raise ValueError(f"array is {hu.dtype} with {hu.size} values; allowed: int16 with at least one")
        return cls(hu.size, *(int(value) for value in integer_moments(hu.reshape(-1))))

    def __add__(self, other: HuMoments) -> HuMoments:
        return HuMoments(
            self.count + other.count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.total + other.total,
            self.squares + other.squares,
        )

    @property
    def statistics(self) -> HuStatistics:
        """Statistics of the same voxels."""
        variance = (self.count * self.squares - self.total * self.total) / (self.count * self.count)
        return HuStatistics(self.minimum, self.maximum, self.total / self.count, math.sqrt(variance))


def to_hu(stored: NDArray[np.uint16]) -> NDArray[np.int16]:
    """Return HU of stored values, `stored - 32768`, in a new array of the same shape.

    Raises:
        ValueError: `stored` is not uint16.
    """
    if stored.dtype != np.uint16:
        raise ValueError(f"stored values are {stored.dtype}; allowed: uint16")
    # Flipping the top bit subtracts 32768 in two's complement, without a wider type in between.
    return np.bitwise_xor(stored, np.uint16(STORED_ZERO_HU)).view(np.int16)


def statistics(hu: NDArray[np.int16]) -> HuStatistics:
    """Return the statistics of an int16 array of any shape, from exact sums: equal bits on every machine.

    Raises:
        ValueError: the array is empty or not int16.
    """
    return HuMoments.of(hu).statistics
