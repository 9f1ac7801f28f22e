"""Compares `onestep sample` with diffusers on tiny pipelines with random weights.

    pip install -r tests/reference/requirements.txt
    cargo build --release -p onestep-cli
    OMP_NUM_THREADS=1 python tests/reference/sample.py target/release/onestep [NAME…]

Every row of the table is one pipeline, scheduler and number of steps: relative L2 of the final latents, of the same noise and the
same prompt embeddings. The second table writes the same pipeline in other layouts and checks that latents are bit-identical. Exits
with 1 if a row is above its bound.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import diffusers
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, LCMScheduler, PNDMScheduler, StableDiffusionPipeline,
                       StableDiffusionXLPipeline, UNet2DConditionModel)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from full_size import bytes_to_unicode
from nets import randomise

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
WANTED = sys.argv[2:]
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
BOUND = 1e-4


def tokenizer(folder, pad="<|endoftext|>"):
    """A CLIP tokenizer of all bytes and a few merges, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = ["r e", "re d</w>", "h e", "a r", "he ar", "hear t</w>"]
    characters = bytes_to_unicode()
    words = characters + [c + "</w>" for c in characters] + ["".join(m.split()) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": pad, "unk_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(special | {
        "add_prefix_space": False, "model_max_length": 16, "tokenizer_class": "CLIPTokenizer"}))
    return CLIPTokenizer.from_pretrained(folder), len(words)


def vae(factor=0.18215):
    return AutoencoderKL(
        block_out_channels=(16, 32), layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=16, scaling_factor=factor,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)


def text(kind, words, hidden, activation="quick_gelu"):
    return kind(CLIPTextConfig(
        vocab_size=words, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=16, hidden_act=activation, projection_dim=24, bos_token_id=words - 2, eos_token_id=words - 1))


def unet(context, **more):
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=context, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **({"attention_head_dim": 4} | more))


def pipeline(family, folder):
    """A tiny pipeline of a family, saved to `folder` with the tokenizer's published files."""
    words_of, words = tokenizer(folder / "tokenizer")
    if family == "sdxl":
        second, _ = tokenizer(folder / "tokenizer_2", pad="!")
        pipe = StableDiffusionXLPipeline(
            vae=vae(0.13025), text_encoder=text(CLIPTextModel, words, 16),
            text_encoder_2=text(CLIPTextModelWithProjection, words, 32, "gelu"), tokenizer=words_of, tokenizer_2=second,
            unet=unet(48, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
                      projection_class_embeddings_input_dim=24 + 48, transformer_layers_per_block=2, attention_head_dim=(2, 4)),
            scheduler=EulerDiscreteScheduler(steps_offset=1, **BETAS))
    else:
        more = {"use_linear_projection": True, "attention_head_dim": [2, 4]} if family == "sd2" else {}
        more |= {"time_cond_proj_dim": 16} if family == "lcm" else {}
        kind = diffusers.LatentConsistencyModelPipeline if family == "lcm" else StableDiffusionPipeline
        scheduler = {"sd1": PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, **BETAS),
                     "sd2": DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1, **BETAS),
                     "turbo": EulerDiscreteScheduler(timestep_spacing="trailing", **BETAS),
                     "lcm": LCMScheduler(**BETAS)}[family]
        pipe = kind(
            vae=vae(), text_encoder=text(CLIPTextModel, words, 32, "gelu" if family == "sd2" else "quick_gelu"), tokenizer=words_of,
            unet=unet(32, **more), scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    for index, name in enumerate(["unet", "vae", "text_encoder", "text_encoder_2"]):
        if getattr(pipe, name, None) is not None:
            randomise(getattr(pipe, name), 7 + index, torch.float16).float()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save(pipe, folder, **options):
    """Saves the pipeline, with the tokenizers in their published form."""
    pipe.save_pretrained(folder, **options)
    for name, pad in [("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")]:
        if getattr(pipe, name, None) is not None:
            (folder / name / "tokenizer.json").unlink(missing_ok=True)
            tokenizer(folder / name, pad)
            (folder / name / "tokenizer.json").unlink(missing_ok=True)


def inputs(pipe, count=2, size=8, steps=50):
    """Noise and embeddings, under the names of diffusers' arguments; fresh noise for solvers that need it."""
    random = torch.Generator().manual_seed(3)
    normal = lambda *shape: torch.randn(shape, generator=random)
    given = {"latents": normal(count, 4, size, size), "noise": normal(steps, count, 4, size, size)}
    prompts = ["red heart", "a heart"][:count]
    with torch.no_grad():
        if isinstance(pipe, StableDiffusionXLPipeline):
            names = ["prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
            given |= dict(zip(names, pipe.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=True)))
        else:
            embeds, negative = pipe.encode_prompt(prompts, "cpu", 1, True)
            given |= {"prompt_embeds": embeds, "negative_prompt_embeds": negative}
    return {name: value.contiguous() for name, value in given.items()}


def with_noise(noise):
    """Makes the schedulers take `noise` [steps, N, C, H, W] instead of generating it."""
    calls = itertools.count()
    taken = lambda *_, **__: noise[next(calls)]
    for module in ["euler_ancestral_discrete", "lcm"]:
        getattr(diffusers.schedulers, f"scheduling_{module}").randn_tensor = taken


def theirs(pipe, given, steps, guidance):
    with_noise(given["noise"])
    arguments = {name: value for name, value in given.items() if name != "noise"}
    if guidance == 1 and not isinstance(pipe, diffusers.LatentConsistencyModelPipeline):
        arguments = {name: value for name, value in arguments.items() if not name.startswith("negative")}
    if isinstance(pipe, diffusers.LatentConsistencyModelPipeline):
        arguments = {name: value for name, value in arguments.items() if not name.startswith("negative")}
    with torch.no_grad():
        return pipe(num_inference_steps=steps, guidance_scale=guidance, output_type="latent", **arguments).images


def ours(folder, given, steps, guidance, *options):
    with tempfile.TemporaryDirectory() as scratch:
        source, target = pathlib.Path(scratch, "in.safetensors"), pathlib.Path(scratch, "out.safetensors")
        # Only solvers that add noise take it.
        adds = "Ancestral" in json.loads((folder / "scheduler/scheduler_config.json").read_text())["_class_name"] or "lcm" in folder.name
        given = {name: value for name, value in given.items() if name != "noise" or adds}
        if adds:
            given["noise"] = given["noise"][:steps].contiguous()
        save_file(given, source)
        command = [PROGRAM, "sample", folder, "--inputs", source, "--out", target, "--steps", steps, "--guidance", guidance, "--device", "cpu", *options]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        return load_file(target)["latents"]


def distance(a, b):
    if isinstance(a, str):
        return a
    return ((a - b).norm() / b.norm()).item()


FAILED = []


def row(name, value, bound=BOUND):
    fine = not isinstance(value, str) and value <= bound
    FAILED.extend([] if fine else [name])
    print(f"{'ok  ' if fine else 'FAIL'} {name:70} {value if isinstance(value, str) else format(value, '.1e')}", flush=True)


def schedulers():
    """Every class with its spacings and predictions."""
    for kind, spacing, prediction in itertools.product(
            [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler],
            ["linspace", "leading", "trailing"], ["epsilon", "v_prediction", "sample"]):
        if (kind, prediction) in [(PNDMScheduler, "sample")]:
            continue
        more = {"clip_sample": False} if kind is DDIMScheduler else {"skip_prk_steps": True} if kind is PNDMScheduler else {}
        yield kind(timestep_spacing=spacing, prediction_type=prediction, **BETAS, **more)
    yield EulerDiscreteScheduler(use_karras_sigmas=True, **BETAS)
    yield DPMSolverMultistepScheduler(use_karras_sigmas=True, **BETAS)
    yield DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction", clip_sample=False, **BETAS)
    yield DDIMScheduler(**BETAS)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "sd1")
        pipe = pipeline("sd1", folder)
        given = inputs(pipe)
        if not WANTED or "schedulers" in WANTED:
            for number, scheduler in enumerate(schedulers()):
                pipe.scheduler = scheduler
                here = pathlib.Path(scratch, f"scheduler-{number}")
                save(pipe, here)
                # As users run it: pipelines change some keys of their scheduler when they are loaded (steps_offset, clip_sample).
                loaded = StableDiffusionPipeline.from_pretrained(here)
                loaded.set_progress_bar_config(disable=True)
                for steps in [1, 4, 20, 50]:
                    config = scheduler.config
                    name = f"{type(scheduler).__name__} {config.get('timestep_spacing')} {config.prediction_type} {steps} steps"
                    name += " karras" if config.get("use_karras_sigmas") else ""
                    try:
                        expected = theirs(loaded, given, steps, 3.0)
                    except Exception as error:
                        print(f"     {name:70} diffusers: {error}")
                        continue
                    if not expected.isfinite().all():
                        print(f"     {name:70} diffusers: not finite")
                        continue
                    row(name, distance(ours(here, given, steps, 3.0), expected))
        for family, cases in {"sd1": [(20, 7.5)], "sd2": [(20, 7.5)], "sdxl": [(20, 5.0), (4, 1)], "turbo": [(1, 1), (4, 1)],
                              "lcm": [(1, 8.0), (4, 8.0)]}.items():
            if WANTED and family not in WANTED:
                continue
            folder = pathlib.Path(scratch, f"family-{family}")
            pipe = pipeline(family, folder)
            save(pipe, folder)
            given = inputs(pipe)
            for steps, guidance in cases:
                row(f"{family} {steps} steps, guidance {guidance}", distance(ours(folder, given, steps, guidance), theirs(pipe, given, steps, guidance)))
            odd = inputs(pipe, size=9)
            row(f"{family} latents of 9x9", distance(ours(folder, odd, 4, 1), theirs(pipe, odd, 4, 1)))
        if not WANTED or "layouts" in WANTED:
            for family in ["sd1", "sdxl"]:
                folder = pathlib.Path(scratch, f"layout-{family}")
                pipe = pipeline(family, folder).to(torch.float16)
                save(pipe, folder)
                given = inputs(pipe.to(torch.float32))
                pipe.to(torch.float16)
                plain = ours(folder, given, 2, 3.0)
                for name, options in {"variant": {"variant": "fp16"}, "shards": {"max_shard_size": "40KB"},
                                      "variant shards": {"variant": "fp16", "max_shard_size": "40KB"}, "bin": {"safe_serialization": False}}.items():
                    here = pathlib.Path(scratch, f"layout-{family}-{name.replace(' ', '-')}")
                    save(pipe, here, **options)
                    row(f"{family} as {name}", distance(ours(here, given, 2, 3.0), plain), 0.0)
                links = pathlib.Path(scratch, f"layout-{family}-links")
                for file in folder.rglob("*"):
                    if file.is_file():
                        link = links / file.relative_to(folder)
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(file)
                row(f"{family} as links", distance(ours(links, given, 2, 3.0), plain), 0.0)
    if FAILED:
        sys.exit(f"{len(FAILED)} rows failed")


if __name__ == "__main__":
    main()
