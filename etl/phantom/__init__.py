"""A small synthetic DeepLesion release in the official layout, with the truth about its lesions.

OUT/Images_png_01.zip ..   archives, members `Images_png/PPPPPP_SS_RR/NNN.png`
OUT/DL_info.csv            annotations with the official formatting
OUT/Images_png/            the same slices as files, if requested
OUT/phantom.json           the truth, and the arguments that made the folder
"""

from etl.phantom.rows import format_rows
from etl.phantom.slices import encode_png
from etl.phantom.truth import PhantomLesion, PhantomTruth, phantom_truth
from etl.phantom.write import is_written, write_phantom

__all__ = [
    "PhantomLesion",
    "PhantomTruth",
    "encode_png",
    "format_rows",
    "is_written",
    "phantom_truth",
    "write_phantom",
]
