#!/usr/bin/env bash
# torch 2.15.0: `interpolate(mode="nearest")` to a size that is no multiple reads other pixels than integer arithmetic gives.
#
# Expected: pixel i of m reads pixel floor(i * n / m) of n. Seen: the scale n / m is rounded to f32 before it is multiplied, so that an
# index which is exactly a whole number can fall below it: for 14 -> 46, pixel 23 reads 6 and not 7. U-Nets with levels that do not halve
# evenly upsample so (diffusers passes the size of the skip connection). Doubling, and sizes 2n - 1, never differ.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import torch
from torch.nn.functional import interpolate

def differing(n, m):
    read = interpolate(torch.arange(float(n))[None, None, None], size=(1, m), mode="nearest")[0, 0, 0]
    return [(i, int(read[i]), i * n // m) for i in range(m) if int(read[i]) != i * n // m]

found = differing(14, 46)
print("14 -> 46, pixel, read, exact:", found)
pairs = [(n, m) for n in range(2, 100) for m in range(n + 1, 4 * n) if differing(n, m)]
print(len(pairs), "of the pairs of sizes below 100 differ; of m = 2n - 1 and 2n:", [p for p in pairs if p[1] in (2 * p[0] - 1, 2 * p[0])])
sys.exit(0 if found == [(23, 6, 7)] and pairs and not [p for p in pairs if p[1] in (2 * p[0] - 1, 2 * p[0])] else 1)
PYTHON
