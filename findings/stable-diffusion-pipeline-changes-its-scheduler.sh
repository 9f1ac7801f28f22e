#!/usr/bin/env bash
# diffusers 0.42.1: a Stable Diffusion folder that diffusers wrote is sampled at other timesteps after it was read again, while an SDXL
# folder with the same scheduler file is not.
#
# Expected: scheduler_config.json decides, so a pipeline that is saved and loaded gives the same images. Seen: StableDiffusionPipeline
# replaces two keys of whatever scheduler it is constructed with, steps_offset by 1 and clip_sample by false (a deprecation notice is the
# only sign). A scheduler that is assigned afterwards keeps its keys and is saved with them: the pipeline in memory samples at 750, 500,
# 250, 0 and its own folder, loaded again, at 751, 501, 251, 1. StableDiffusionXLPipeline and LatentConsistencyModelPipeline leave both
# keys alone. A reader of scheduler_config.json must therefore look at the pipeline's class too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 transformers==5.24.0 torch==2.15.0
"$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PYTHON'
import sys
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]")), pad_token="[PAD]", unk_token="[UNK]")
text = CLIPTextConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
parts = dict(
    vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
    unet=UNet2DConditionModel(block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
                              cross_attention_dim=8, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)),
    text_encoder=CLIPTextModel(text), tokenizer=tokenizer, scheduler=DDIMScheduler())
pipelines = {
    "StableDiffusionPipeline": StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False),
    "StableDiffusionXLPipeline": StableDiffusionXLPipeline(
        **parts, text_encoder_2=CLIPTextModelWithProjection(text), tokenizer_2=tokenizer),
}
seen = {}
for name, pipeline in pipelines.items():
    pipeline.scheduler = DDIMScheduler()
    pipeline.save_pretrained(f"{sys.argv[1]}/{name}")
    read = type(pipeline).from_pretrained(f"{sys.argv[1]}/{name}")
    for scheduler in (pipeline.scheduler, read.scheduler):
        scheduler.set_timesteps(4)
    seen[name] = [scheduler.timesteps.tolist() for scheduler in (pipeline.scheduler, read.scheduler)]
    seen[name].append((read.scheduler.config.steps_offset, read.scheduler.config.clip_sample))
    print(name, "in memory and read again:", *seen[name])
expected = {"StableDiffusionPipeline": [[750, 500, 250, 0], [751, 501, 251, 1], (1, False)],
            "StableDiffusionXLPipeline": [[750, 500, 250, 0], [750, 500, 250, 0], (0, True)]}
sys.exit(0 if seen == expected else 1)
PYTHON
