#!/usr/bin/env bash
# diffusers 0.42.1: AutoencoderTiny decodes with a constant where its configuration has a key, and accepts channels that it cannot run.
#
# Expected: `latent_magnitude`, which is saved in config.json, is the limit of the decoder's soft clamp, and `encoder_block_out_channels`
# may differ from level to level. Seen: the decoder computes 3 * tanh(x / 3) whatever `latent_magnitude` is, so that two models which
# differ in it decode to the same bits (only `scale_latents` reads the key); and a model with unequal channels is built, saved and loaded
# without a word, and raises on its first image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 transformers==5.24.0 torch==2.15.0
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
import torch
from diffusers import AutoencoderTiny

small, large = AutoencoderTiny(), AutoencoderTiny(latent_magnitude=100)
large.load_state_dict(small.state_dict())
latents = 10 * torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    same = torch.equal(small.decode(latents).sample, large.decode(latents).sample)
print("latent_magnitude 3 and 100 decode to the same bits:", same)
unequal = AutoencoderTiny(encoder_block_out_channels=(64, 64, 64, 32))
try:
    unequal.encode(torch.zeros(1, 3, 32, 32))
    raised = False
except RuntimeError as error:
    raised = True
    print("unequal channels:", error)
sys.exit(0 if same and raised else 1)
PYTHON
