"""Loads folders that onestep-nets wrote with diffusers and transformers, and compares what they compute.

    ONESTEP_WRITE_NETS=/tmp/nets cargo test --release -p onestep-nets -p anchor --test written
    python tests/reference/check_written.py /tmp/nets
"""

import json
import pathlib
import sys

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTextModel, CLIPTextModelWithProjection

TOLERANCE = 1e-5
failures = 0


def check(what, theirs, ours):
    global failures
    error = ((theirs - ours).norm() / ours.norm()).item()
    failures += not error <= TOLERANCE
    print(f"{what}: relative L2 error {error:.2e}")


def strict(cls, folder):
    """`from_pretrained`, refusing weights that are missing or surplus."""
    model, info = cls.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[key], (folder, key, info[key])
    return model.eval()


@torch.no_grad()
def main(root):
    for folder in sorted(root.iterdir()):
        case = load_file(folder / "case.safetensors") if folder.is_dir() and folder.name != "scheduler" else None
        if folder.name.startswith("unet"):
            model = strict(UNet2DConditionModel, folder)
            added = {k: case[k] for k in ("text_embeds", "time_ids") if k in case}
            timestep = case["timestep"] if len(case["timestep"]) > 1 else case["timestep"][0]
            out = model(case["sample"], timestep, case["encoder_hidden_states"], added_cond_kwargs=added or None).sample
            check(folder.name, out, case["out"])
        elif folder.name.startswith("vae"):
            model = strict(AutoencoderKL, folder)
            check(folder.name, model.decode(case["latents"]).sample, case["decoded"])
            check(folder.name, model.encode(case["images"]).latent_dist.mean, case["mean"])
        elif folder.name.startswith("clip"):
            named = json.loads((folder / "config.json").read_text())["architectures"]
            projecting = named == ["CLIPTextModelWithProjection"]
            model = strict(CLIPTextModelWithProjection if projecting else CLIPTextModel, folder)
            out = model(case["ids"])
            check(folder.name, out.last_hidden_state, case["last_hidden_state"])
            if projecting:
                check(folder.name, out.text_embeds, case["text_embeds"])
            else:
                check(folder.name, out.pooler_output, case["pooler_output"])
        elif folder.name.startswith("whole-clip"):
            model = strict(CLIPModel, folder)
            check(folder.name, model.get_text_features(case["ids"]).pooler_output, case["text_embeds"])
            check(folder.name, model.get_image_features(case["images"]).pooler_output, case["image_embeds"])
        elif folder.name == "scheduler":
            schedule = DDIMScheduler.from_pretrained(folder)
            schedule.set_timesteps(50)
            assert schedule.timesteps[:2].tolist() == [999, 979] and not schedule.config.clip_sample
            print("scheduler: read")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
