"""Writes a pipeline folder of a published topology with random weights, for measurements at full size.

    pip install -r tests/reference/requirements.txt
    pip download --no-deps open_clip_torch && unzip -j open_clip_torch-*.whl '*/bpe_simple_vocab_16e6.txt.gz'
    python tests/reference/full_size.py sd15 /tmp/sd15 --vocabulary bpe_simple_vocab_16e6.txt.gz

Kinds: sd15 (Stable Diffusion 1.5), sd15-half (half as wide, about 220 M parameters), sdxl-turbo (Stable Diffusion XL's
topology with the scheduler of SDXL-Turbo). `--dtype` is the element type on disk (default f16). `--shards` splits weight
files at 1 GB. `--layout` writes the same tensors otherwise: variant, bin.
"""

import argparse
import gzip
import json
import pathlib

import torch
from diffusers import (AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline,
                       StableDiffusionXLPipeline, UNet2DConditionModel)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def bytes_to_unicode():
    """The characters that stand for bytes in a byte-level vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def tokenizer(vocabulary, folder, pad):
    """CLIP's tokenizer as published: vocab.json, merges.txt and two small files."""
    lines = gzip.open(vocabulary).read().decode().split("\n")
    merges = lines[1:49152 - 256 - 2 + 1]
    characters = bytes_to_unicode()
    words = characters + [c + "</w>" for c in characters] + ["".join(m.split()) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "add_prefix_space": False, "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "model_max_length": 77,
        "pad_token": pad, "tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>"}))
    (folder / "special_tokens_map.json").write_text(json.dumps({
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": pad, "unk_token": "<|endoftext|>"}))
    return CLIPTokenizer.from_pretrained(folder)


def sd15(width):
    """Stable Diffusion 1.5 at a fraction of its width."""
    channels = tuple(int(c * width) for c in (320, 640, 1280, 1280))
    features = int(768 * width)
    unet = UNet2DConditionModel(sample_size=64, block_out_channels=channels, cross_attention_dim=features, attention_head_dim=8)
    vae = AutoencoderKL(
        sample_size=512, block_out_channels=tuple(int(c * width) for c in (128, 256, 512, 512)), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=features, intermediate_size=4 * features, num_hidden_layers=12,
        num_attention_heads=12, max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, projection_dim=features))
    scheduler = PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, **BETAS)
    return lambda tokens: StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokens[0], unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)


def sdxl_turbo():
    """Stable Diffusion XL with the scheduler of SDXL-Turbo."""
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    vae = AutoencoderKL(
        sample_size=1024, block_out_channels=(128, 256, 512, 512), layers_per_block=2, scaling_factor=0.13025,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4)
    one = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        bos_token_id=49406, eos_token_id=49407, projection_dim=768))
    two = CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=49408, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
        hidden_act="gelu", bos_token_id=49406, eos_token_id=49407, projection_dim=1280))
    scheduler = EulerDiscreteScheduler(timestep_spacing="trailing", **BETAS)
    return lambda tokens: StableDiffusionXLPipeline(
        vae=vae, text_encoder=one, text_encoder_2=two, tokenizer=tokens[0], tokenizer_2=tokens[1], unet=unet,
        scheduler=scheduler)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["sd15", "sd15-half", "sdxl-turbo"])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--shards", action="store_true")
    parser.add_argument("--layout", default="folder", choices=["folder", "variant", "bin"])
    options = parser.parse_args()
    torch.manual_seed(0)
    # Half precision from the start: SDXL's topology in f32 would need 14 GB.
    torch.set_default_dtype(getattr(torch, options.dtype))
    make = {"sd15": lambda: sd15(1), "sd15-half": lambda: sd15(0.5), "sdxl-turbo": sdxl_turbo}[options.kind]()
    folders = [options.out / "tokenizer", options.out / "tokenizer_2"]
    tokens = [tokenizer(options.vocabulary, folder, pad) for folder, pad in zip(folders, ["<|endoftext|>", "!"])]
    pipeline = make(tokens)
    shards = {"max_shard_size": "1GB"} if options.shards else {}
    pipeline.save_pretrained(
        options.out, variant="fp16" if options.layout == "variant" else None, safe_serialization=options.layout != "bin", **shards)
    # save_pretrained writes tokenizer.json alone; published folders have the older files.
    for folder, pad in zip(folders, ["<|endoftext|>", "!"]):
        if folder == folders[1] and options.kind != "sdxl-turbo":
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
            continue
        (folder / "tokenizer.json").unlink(missing_ok=True)
        tokenizer(options.vocabulary, folder, pad)
        (folder / "tokenizer.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
