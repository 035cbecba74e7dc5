#!/usr/bin/env bash
# fastrad 1.2.0 (PyTorch 2.13.0+cpu, SimpleITK 2.5.7, NumPy 2.4.6): filtered images have the names that PyRadiomics gives them, and other numbers.
#
# Guess: fastrad promises "full parity" with PyRadiomics, its quick start a Laplacian of Gaussian "strictly matched to PyRadiomics", and it names the
# filtered images alike. So log-sigma-2-0-mm-3D is what PyRadiomics takes, ITK's LaplacianRecursiveGaussian with sigma in mm, normalised across
# scales, and squareroot and logarithm keep the sign and the range of the intensities, as PyRadiomics defines them.
# What happens: the kernel has the formula of two dimensions and is laid over three, sigma counts voxels, whatever the spacing, and nothing is
# normalised. load_and_align has cropped the image to the lesion before, so that the filter sees zeros in place of the tissue around. Signs and
# scales of the other filters are dropped: fat and soft tissue have the same root. There is no warning. Without a filter, numbers agree.
# Seen 2026-11-30, the response to a Gaussian blob at its middle, amplitude 100, its sigma 4 mm, that of the filter 2 mm:
#     voxels               fastrad     ITK     formula
#     1 x 1 x 1 mm           -4.7     -43.3     -42.9
#     2 x 0.8 x 0.8 mm      -11.7     -43.3     -42.9
#     3 x 1.5 x 1.5 mm      -26.3     -43.9     -42.9
# and the mean over a lesion of fat, -80 HU, 16 mm, in tissue of 40 HU, by the quick start and by the definitions of PyRadiomics:
#                    fastrad    PyRadiomics
#     original         -80.0          -80.0
#     LoG, 2 mm          3.8           34.3
#     squareroot         8.9         -282.8
#     logarithm          4.4         -636.1
#     square          6400.0            6.4
# No thread about it was found. PyRadiomics itself does not run here; its definitions are in its source, imageoperations.py.
# Whom it hurts: whoever applies a model that was trained on PyRadiomics' features to lesions of this store, or mixes tables of both. Within fastrad,
# slices of 1 and of 5 mm, which the release has both of, give different features of the same lesion.
# Instead: SimpleITK's LaplacianRecursiveGaussian with NormalizeAcrossScale on the whole image, then fastrad's features of that; or PyRadiomics.
# fastrad asks for Python 3.12, for which there may be no CPU build of PyTorch; its filters run on 3.11 as well. That build may lie where only pip is
# told to look.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0+cpu simpleitk==2.5.7 scipy==1.17.1 \
  numpy==2.4.6 loguru==0.7.3 pydicom==3.0.2 2>&1
"$work/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --no-deps --ignore-requires-python fastrad==1.2.0 2>&1
cd "$work"
cat >filters.py <<'PYTHON'
import sys

import numpy as np
import SimpleITK
import torch
from fastrad import FeatureExtractor, FeatureSettings, MedicalImage, apply_builtin_filters, load_and_align
from loguru import logger

logger.remove()
torch.set_num_threads(1)
SIGMA, BLOB, AMPLITUDE = 2.0, 4.0, 100.0


def radius(spacing, length_mm=50):
    """Return the distance of each voxel from the middle of a cube, in mm."""
    count = [int(length_mm / step) // 2 * 2 + 1 for step in spacing]
    index = np.moveaxis(np.indices(count), 0, -1) - (np.array(count) - 1) / 2
    return np.linalg.norm(index * spacing, axis=-1)


def image(array, spacing):
    """Return an array (z, y, x) as an image of SimpleITK."""
    made = SimpleITK.GetImageFromArray(array)
    made.SetSpacing([float(step) for step in spacing[::-1]])
    return made


def by_itk(array, spacing):
    """Return the Laplacian of Gaussian as PyRadiomics takes it."""
    laplacian = SimpleITK.LaplacianRecursiveGaussianImageFilter()
    laplacian.SetNormalizeAcrossScale(True)
    laplacian.SetSigma(SIGMA)
    return SimpleITK.GetArrayFromImage(laplacian.Execute(image(array, spacing)))


def response(spacing):
    """Return the responses to a Gaussian blob at its middle: of fastrad, of ITK, and of the formula."""
    blob = (AMPLITUDE * np.exp(-0.5 * (radius(spacing) / BLOB) ** 2)).astype(np.float32)
    middle = tuple(length // 2 for length in blob.shape)
    (filtered,) = apply_builtin_filters(MedicalImage(torch.from_numpy(blob), spacing), {"LoG": {"sigma": [SIGMA]}}).values()
    joined = BLOB**2 + SIGMA**2
    formula = -3 * AMPLITUDE * SIGMA**2 / joined * (BLOB**2 / joined) ** 1.5
    return tuple(round(float(value), 1) for value in (filtered.tensor[middle], by_itk(blob, spacing)[middle], formula))


def means():
    """Return the means over a lesion of fat, of fastrad's quick start and by the definitions of PyRadiomics, for each filter."""
    spacing = (1.0, 1.0, 1.0)
    lesion = radius(spacing) < 8
    ct = np.where(lesion, -80, 40).astype(np.float32)
    ct[:, :2] = -1000
    SimpleITK.WriteImage(image(ct, spacing), "ct.nii.gz")
    SimpleITK.WriteImage(image(lesion.astype(np.uint8), spacing), "lesion.nii.gz")
    loaded, mask = load_and_align("ct.nii.gz", "lesion.nii.gz")
    wanted = {"Original": {}, "LoG": {"sigma": [SIGMA]}, "SquareRoot": {}, "Logarithm": {}, "Square": {}}
    extractor = FeatureExtractor(FeatureSettings(feature_classes=["firstorder"], device="cpu"))
    filtered = apply_builtin_filters(loaded, wanted)
    own = {name: extractor.extract(picture, mask)["firstorder:mean"] for name, picture in filtered.items()}
    size, sign, most = np.abs(ct), np.sign(ct), np.abs(ct).max()
    defined = {
        "original": ct,
        "log-sigma-2-0-mm-3D": by_itk(ct, spacing),
        "squareroot": sign * np.sqrt(most * size),
        "logarithm": sign * most / np.log(most + 1) * np.log(size + 1),
        "square": ct**2 / most,
    }
    return {name: (round(float(own[name]), 1), round(float(picture[lesion].mean()), 1)) for name, picture in defined.items()}


blobs = {spacing: response(spacing) for spacing in ((1.0, 1.0, 1.0), (2.0, 0.8, 0.8), (3.0, 1.5, 1.5))}
for spacing, values in blobs.items():
    print("blob in voxels of {:g} x {:g} x {:g} mm: fastrad {:.1f}, ITK {:.1f}, formula {:.1f}".format(*spacing, *values))
lesion = means()
for name, (own, defined) in lesion.items():
    print(f"mean of {name:20} fastrad {own:8.1f}, PyRadiomics' definition {defined:8.1f}")
expected_blobs = {(1.0, 1.0, 1.0): (-4.7, -43.3, -42.9), (2.0, 0.8, 0.8): (-11.7, -43.3, -42.9), (3.0, 1.5, 1.5): (-26.3, -43.9, -42.9)}
expected = {
    "original": (-80.0, -80.0),
    "log-sigma-2-0-mm-3D": (3.8, 34.3),
    "squareroot": (8.9, -282.8),
    "logarithm": (4.4, -636.1),
    "square": (6400.0, 6.4),
}
sys.exit(0 if blobs == expected_blobs and lesion == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" -W ignore filters.py
