#!/usr/bin/env bash
# diffusers 0.42.1: timestep_spacing "trailing" gives one step more than asked for, at timestep -1, for some numbers of steps.
#
# Expected: `set_timesteps(n)` gives n timesteps from 999 down to at least 0. Seen: the timesteps are np.arange(1000, 0, -1000 / n)
# rounded, and the step in floating point lets arange reach 0 once more, so that for 61, 103, 121, … of 1000 there are n + 1 timesteps
# and the last is -1. DDIMScheduler then takes the noise level alphas_cumprod[-1], that of the noisiest timestep, for its last step, and
# EulerDiscreteScheduler evaluates the network once more at timestep 0. A count of steps taken from the length of `timesteps` is wrong
# by one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.15.0
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from diffusers import DDIMScheduler

scheduler = DDIMScheduler(timestep_spacing="trailing")
longer = []
for steps in range(1, 301):
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) != steps:
        longer.append((steps, len(scheduler.timesteps), int(scheduler.timesteps[-1])))
print("steps asked for, timesteps, the last:", longer)
sys.exit(0 if longer and longer[0] == (61, 62, -1) and all(count == steps + 1 and last == -1 for steps, count, last in longer) else 1)
PYTHON
