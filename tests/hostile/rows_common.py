"""Rows of malformed files: how one is made, which commands read it, which words a good refusal has."""

from collections.abc import Callable
from dataclasses import dataclass

from harness import link_tree, replace
from samples import PROMPT


@dataclass
class Row:
    """One malformed input.

    `make(folder, samples)` builds it below an empty folder; `commands` are names of `COMMANDS`. `words` are regular expressions that must
    all be found in what the program says: the file, and the key, tensor or reason. The path of the folder is taken out of the text first,
    so that it cannot supply a word.
    """

    kind: str
    name: str
    make: Callable
    commands: tuple
    words: tuple


def small_run(samples):
    return ["--data", samples.images, "--steps", 1, "--batch", 2, "--save-every", 1, "--sample-every", 1, "--device", "cpu"]


# The commands that read an input. The pipeline folder is `model`, a bundle at `bundle`, and so on, below the row's folder.
COMMANDS = {
    "run vae_decoder": lambda f, s: ["debug", "run-component", "vae_decoder", "--model", f / "model", "--inputs", s.vae_inputs, "--out", f / "out.safetensors"],
    "run unet": lambda f, s: ["debug", "run-component", "unet", "--model", f / "model", "--inputs", s.unet_inputs, "--out", f / "out.safetensors"],
    "run text_encoder": lambda f, s: ["debug", "run-component", "text_encoder", "--model", f / "model", "--inputs", s.text_inputs, "--out", f / "out.safetensors"],
    "export": lambda f, s: ["export", "--model", f / "model", "--out", f / "exported"],
    "pairs": lambda f, s: pairs_of(f / "model", f / "pairs-out", s),
    "train teacher": lambda f, s: ["train", "teacher", "--preset", "test", "--autoencoder", f / "model", *small_run(s), "--out", f / "trained"],
    "gallery": lambda f, s: [
        "export",
        "gallery",
        "--bundle",
        s.bundle,
        "--teacher",
        f / "model",
        "--prompt",
        PROMPT,
        "--steps",
        1,
        "--out",
        f / "gallery.json",
    ],
    "inspect": lambda f, s: ["inspect", f / "bundle"],
    "generate": lambda f, s: ["generate", PROMPT, "--seed", 1, "--bundle", f / "bundle", "--device", "cpu", "--out", f / "image.png"],
    "run decoder": lambda f, s: ["debug", "run-component", "decoder", "--model", f / "bundle", "--inputs", s.vae_inputs, "--out", f / "out.safetensors"],
    "run unet, inputs": lambda f, s: ["debug", "run-component", "unet", "--model", s.model, "--inputs", f / "inputs.safetensors", "--out", f / "out.safetensors"],
    "run unet on burn, inputs": lambda f, s: [*COMMANDS["run unet, inputs"](f, s), "--device", "burn"],
    "run text_encoder, inputs": lambda f, s: [
        "debug",
        "run-component",
        "text_encoder",
        "--model",
        s.model,
        "--inputs",
        f / "inputs.safetensors",
        "--out",
        f / "out.safetensors",
    ],
    "run vae_decoder, inputs": lambda f, s: [
        "debug",
        "run-component",
        "vae_decoder",
        "--model",
        s.model,
        "--inputs",
        f / "inputs.safetensors",
        "--out",
        f / "out.safetensors",
    ],
    "distance, inputs": lambda f, s: ["debug", "distance", "--weights", s.metric, "--inputs", f / "inputs.safetensors", "--out", f / "out.safetensors"],
    "distance, metric": lambda f, s: ["debug", "distance", "--weights", f / "metric", "--inputs", s.two_latents, "--out", f / "out.safetensors"],
    "distance, published": lambda f, s: ["debug", "distance", "--weights", f / "sd15_metric.pth", "--inputs", s.two_latents, "--out", f / "out.safetensors"],
    "distance, published safetensors": lambda f, s: [
        "debug",
        "distance",
        "--weights",
        f / "sd15_metric.safetensors",
        "--inputs",
        s.two_latents,
        "--out",
        f / "out.safetensors",
    ],
    "distil, metric": lambda f, s: [*distil_of(s.pairs, f / "student", s, "latent-lpips"), "--metric", f / "metric"],
    "distil": lambda f, s: distil_of(f / "pairs", f / "student", s),
    "pairs --resume": lambda f, s: [*s.pairs_command(f / "pairs"), "--resume"],
    "data check": lambda f, s: ["data", "check", f / "images"],
    "train autoencoder": lambda f, s: [
        "train",
        "autoencoder",
        "--preset",
        "test",
        "--size",
        32,
        "--data",
        f / "images",
        *small_run(s)[2:],
        "--out",
        f / "trained",
    ],
}


def pairs_of(model, out, samples):
    return [
        "pairs",
        "--teacher",
        model,
        "--data",
        samples.images,
        "--count",
        2,
        "--shard",
        2,
        "--batch",
        2,
        "--steps",
        1,
        "--device",
        "cpu",
        "--out",
        out,
    ]


def distil_of(pairs, out, samples, distance="mse"):
    training = ["--steps", 1, "--batch", 2, "--save-every", 1, "--sample-every", 1, "--device", "cpu", "--no-discriminator"]
    return ["distil", "--teacher", samples.teacher, "--pairs", pairs, "--distance", distance, *training, "--out", out]


def with_model(change):
    """A row's folder with a copy of the sound pipeline folder, changed."""

    def make(folder, samples):
        model = link_tree(samples.model, folder / "model")
        change(model)

    return make


def with_bundle(change):
    def make(folder, samples):
        bundle = link_tree(samples.bundle, folder / "bundle")
        change(bundle)

    return make


def replaced(name, content):
    """A change: other bytes for one file; a function gets the sound ones."""

    def change(folder):
        path = folder / name
        replace(path, content(path.read_bytes()) if callable(content) else content)

    return change


def any_of(*words):
    return "|".join(words)


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in to continue.</body></html>\n"
MANY_BRACKETS = b"[" * 100_000
MARK = b"\xef\xbb\xbf"
