"""Writes a pipeline folder of the size of Stable Diffusion 1.5 with seeded random weights, for measurements of time and memory.

    python tests/reference/full_size.py OUT [--width 320] [--dtype float16] [--variant fp16] [--shard 2GB] [--bin]

`--width 160` gives the same network at half the width. The tokenizer is a `tokenizer.json` that this project reads, given by `--tokenizer`; without
it, the folder has none. Needs diffusers 0.42, transformers 5.24, torch 2.15.
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


def seeded(module, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return module.eval()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--width", type=int, default=320)
    arguments.add_argument("--dtype", default="float16")
    arguments.add_argument("--variant")
    arguments.add_argument("--shard", default="10GB")
    arguments.add_argument("--bin", action="store_true")
    arguments.add_argument("--tokenizer", type=Path)
    options = arguments.parse_args()
    torch.set_default_dtype(getattr(torch, options.dtype))
    wide = options.width
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu", projection_dim=768
    )
    parts = {
        "unet": lambda: UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(wide, 2 * wide, 4 * wide, 4 * wide)
        ),
        "vae": lambda: AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512, down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
        ),
        "text_encoder": lambda: CLIPTextModel(text),
    }
    for number, (name, make) in enumerate(parts.items()):
        saving = {"variant": options.variant, "max_shard_size": options.shard, "safe_serialization": not options.bin}
        if name == "text_encoder":
            saving.pop("safe_serialization")
        seeded(make(), number).save_pretrained(options.out / name, **{key: value for key, value in saving.items() if value is not None})
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing",
        steps_offset=1,
    ).save_pretrained(options.out / "scheduler")
    if options.tokenizer:
        (options.out / "tokenizer").mkdir(exist_ok=True)
        shutil.copy(options.tokenizer, options.out / "tokenizer/tokenizer.json")
    (options.out / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "vae": ["diffusers", "AutoencoderKL"],'
        ' "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"],'
        ' "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "PreTrainedTokenizerFast"],'
        ' "safety_checker": [null, null], "feature_extractor": [null, null]}\n'
    )


if __name__ == "__main__":
    main()
