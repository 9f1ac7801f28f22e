#!/usr/bin/env bash
# diffusers 0.42.1 with peft 0.21.2 (PyPI): of a LoRA in kohya's form, attention layers do not get their own alpha.
#
# Expected: each module's change is alpha / rank * up @ down with the alpha of that module, as kohya's scripts train and merge it;
# files with ranks that a dynamic method reduced have another alpha for each module. Seen: layers of attention
# (`attn1_to_q`, ...) get the alpha that is commonest in the file, feed-forward layers and convolutions their own. Here a layer with
# alpha 4 and rank 4 is merged with scale 0.25 instead of 1. The only hint is a RuntimeWarning of peft about `alpha_pattern`: diffusers
# names the layer `attn1.processor.to_q_lora.down.weight` there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 accelerate torch
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file

unet = UNet2DConditionModel(block_out_channels=[32, 32], down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"], layers_per_block=1, cross_attention_dim=8)
pipe = StableDiffusionPipeline(vae=None, text_encoder=None, tokenizer=None, unet=unet, scheduler=DDIMScheduler(), safety_checker=None,
    feature_extractor=None, requires_safety_checker=False)
block = "mid_block.attentions.0.transformer_blocks.0"
alphas = {f"{block}.attn1.to_q": 4.0, f"{block}.attn1.to_k": 1.0, f"{block}.attn1.to_v": 1.0, f"{block}.ff.net.2": 4.0}
state, before = {}, {}
for name, alpha in alphas.items():
    weight = before[name] = unet.get_submodule(name).weight.detach().clone()
    key = "lora_unet_" + name.replace(".", "_")
    state[f"{key}.lora_down.weight"] = torch.randn(4, weight.shape[1])
    state[f"{key}.lora_up.weight"] = torch.randn(weight.shape[0], 4)
    state[f"{key}.alpha"] = torch.tensor(alpha)
save_file(state, f"{sys.argv[1]}/lora.safetensors")
pipe.load_lora_weights(sys.argv[1], weight_name="lora.safetensors")
pipe.fuse_lora(components=["unet"])
pipe.unload_lora_weights()
scales = {}
for name, alpha in alphas.items():
    key = "lora_unet_" + name.replace(".", "_")
    change = state[f"{key}.lora_up.weight"] @ state[f"{key}.lora_down.weight"]
    merged = unet.get_submodule(name).weight.detach() - before[name]
    scales[name] = ((merged * change).sum() / (change * change).sum()).item()
    print(f"{name}: alpha / rank = {alpha / 4}, merged with {scales[name]:.3f}")
seen = [round(scales[f"{block}.{name}"], 3) for name in ("attn1.to_q", "attn1.to_k", "ff.net.2")]
sys.exit(0 if seen == [0.25, 0.25, 1.0] else 1)
PYTHON
