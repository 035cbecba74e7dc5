#!/usr/bin/env bash
# pydcm 0.5.0 (NumPy 2.4.6): a target lesion that could not be assessed counts 0 mm, so that a patient in whom nothing changed has a partial response.
#
# Guess: a lesion with the status "not_evaluable", which pydcm.recist names among its six, makes the response "NE", which it names among its five,
# unless the others alone show progression. RECIST 1.1 says so: with only a part of the measurements, a time point is usually not evaluable.
# What happens: the sum goes on without the lesion and is compared with the sum at baseline, which still has it. A length that is given with it makes
# no difference. "present" and "unequivocal_pd" are left out of the sum as well. The sum that comes back is too small, and as the next nadir it makes
# progression of lesions that never changed. An unknown status is an error, so statuses are looked at.
# Seen 2026-11-30, two lesions of 40 and 30 mm at baseline:
#     40 and 30 mm:                       SD, 70 mm
#     40 mm, the other not evaluable:     PR, 40 mm; iRECIST: iPR
#     both not evaluable:                 PR,  0 mm
#     40 mm, the other unequivocal_pd:    PR, 40 mm
#     40 and 30 mm, nadir 40 mm:          PD, 70 mm
# No thread about it was found.
# Whom it hurts: whoever rates lesions over the studies of a patient. DeepLesion lists what was measured in a study; a lesion that it does not list was
# not looked at, and is not gone. Patients of whom less was measured later respond.
# Needs Python 3.12, as PYTHON or in the usual places.
# Instead: leave a lesion out of both lists if one side is missing, or say NE; hand on a nadir only from time points with all lesions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for python in "${PYTHON:-python3}" python3.12 "$HOME"/.pyenv/versions/3.12.*/bin/python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1 && break
done
"$python" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" pydcm==0.5.0 numpy==2.4.6
cat >"$work/responses.py" <<'PYTHON'
import sys

from pydcm import recist

BASELINE = [{"longest_mm": 40.0}, {"longest_mm": 30.0}]
LARGE, SMALL = {"longest_mm": 40.0}, {"longest_mm": 30.0}
UNSEEN = {"status": "not_evaluable"}


def rated(*lesions, criterion=recist.evaluate, **arguments):
    """Return the response and the sum of diameters in mm."""
    result = criterion(BASELINE, list(lesions), **arguments)
    return result["response"], result["current_sld"]


seen = {
    "40 and 30 mm": rated(LARGE, SMALL),
    "40 mm, the other not evaluable": rated(LARGE, UNSEEN),
    "40 mm, the other not evaluable, 30 mm": rated(LARGE, UNSEEN | SMALL),
    "the same, iRECIST": rated(LARGE, UNSEEN, criterion=recist.evaluate_irecist),
    "both not evaluable": rated(UNSEEN, UNSEEN),
    "40 mm, the other unequivocal_pd": rated(LARGE, SMALL | {"status": "unequivocal_pd"}),
    "40 and 30 mm, nadir 40 mm": rated(LARGE, SMALL, nadir_sld=40.0),
    "40 mm, the other too small": rated(LARGE, {"status": "too_small"}),
}
for name, (response, sum_mm) in seen.items():
    print(f"{name:38} {response:4} {sum_mm:5.1f} mm")
try:
    rated(LARGE, {"status": "unseen"})
    refused = False
except RuntimeError as error:
    refused = True
    print("an unknown status:", error)
expected = {
    "40 and 30 mm": ("SD", 70.0),
    "40 mm, the other not evaluable": ("PR", 40.0),
    "40 mm, the other not evaluable, 30 mm": ("PR", 40.0),
    "the same, iRECIST": ("iPR", 40.0),
    "both not evaluable": ("PR", 0.0),
    "40 mm, the other unequivocal_pd": ("PR", 40.0),
    "40 and 30 mm, nadir 40 mm": ("PD", 70.0),
    "40 mm, the other too small": ("PR", 45.0),
}
sys.exit(0 if seen == expected and refused else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/responses.py"
