"""Writes tests/fixtures/train/resize.safetensors: planes of random values in -1..1, and what PIL's bicubic filter makes of them at other sizes.

PIL works on mode F, f32 without rounding, and the result is clamped, as clean-fid's resize does with images of 0..255.

    pip install -r tests/reference/requirements.txt
    python tests/reference/resize.py
"""

import pathlib

import numpy
from PIL import Image
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "train"

# Height and width before and after: smaller, larger, one of each, by a little, to one pixel, and as it is.
CASES = [((23, 17), (9, 5)), ((5, 6), (13, 11)), ((20, 7), (7, 20)), ((16, 16), (15, 17)), ((11, 12), (1, 1)), ((8, 8), (8, 8)), ((32, 32), (37, 37))]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(7)
    tensors = {}
    for number, (before, after) in enumerate(CASES):
        planes = random.uniform(-1, 1, (2, *before)).astype(numpy.float32)
        # A hard edge, at which the filter overshoots.
        planes[:, before[0] // 2 :, : before[1] // 2] = 1
        resized = [numpy.asarray(Image.fromarray(plane).resize(after[::-1], Image.BICUBIC)).clip(-1, 1) for plane in planes]
        tensors[f"{number}.input"] = planes
        tensors[f"{number}.output"] = numpy.stack(resized)
    save_file(tensors, OUT / "resize.safetensors")


main()
