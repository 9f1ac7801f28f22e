"""Small sound inputs, made by the program itself: images, models, pairs, a bundle, tensors. Nothing is fetched."""

import json
import shutil

from formats import Pickle, Tensors, checkpoint, emoji_font, floats, png, stored_tensor, wave

SIZE = 32
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (240, 220, 40),
    "black": (10, 10, 10),
    "grey": (128, 128, 128),
    "orange": (250, 140, 20),
    "violet": (140, 60, 200),
}
PROMPT = "red square"
# Enough for a run that takes a noticeable time.
EMOJI = 240


def square(colour, size=SIZE):
    """A square in the middle of a white image."""
    inside = range(size // 4, size * 3 // 4)
    rows = [colour if row in inside and column in inside else (255, 255, 255) for row in range(size) for column in range(size)]
    return png(size, size, bytes(value for pixel in rows for value in pixel))


def write_images(folder):
    folder.mkdir(parents=True)
    lines = []
    for name, colour in COLOURS.items():
        (folder / f"{name}.png").write_bytes(square(colour))
        phrasings = [f"{name} square", f"a {name} square"]
        lines.append(
            json.dumps({"file_name": f"{name}.png", "text": phrasings[0], "phrasings": phrasings, "held_out": [f"image of a {name} square"]})
        )
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


class Samples:
    """Paths of the sound inputs below one folder; made at first, found again later."""

    def __init__(self, program, work):
        self.program, self.folder = program, work.path / "samples"
        status = program.path.stat()
        stamp = json.dumps([str(program.path), status.st_size, status.st_mtime_ns, 1])
        mark = self.folder / "complete"
        if not mark.exists() or mark.read_text() != stamp:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._make()
            mark.write_text(stamp)

    def __getattr__(self, name):
        # `samples.teacher` is the path of what is called so.
        if name.startswith("_"):
            raise AttributeError(name)
        return self.__dict__["folder"] / NAMES[name]

    def _make(self):
        run = lambda *arguments: self.program.succeed(*arguments, cwd=self.folder)
        write_images(self.images)
        training = ["--steps", 2, "--batch", 4, "--save-every", 2, "--sample-every", 2, "--device", "cpu"]
        data = ["--data", self.images]
        run("train", "autoencoder", "--preset", "test", "--size", SIZE, *data, *training, "--out", self.autoencoder)
        for seed, out in enumerate([self.teacher, self.other_teacher]):
            run("train", "teacher", "--preset", "test", *data, "--autoencoder", self.autoencoder, *training, "--seed", seed, "--out", out)
        run("train", "latent-vgg", "--autoencoder", self.autoencoder, *data, "--widths", "4,4,8,8,8", *training, "--out", self.features)
        self.program.succeed(*self.pairs_command(self.pairs), cwd=self.folder)
        run("export", "--model", self.teacher, "--out", self.bundle, "--title", "Small")
        run("export", "--model", self.other_teacher, "--out", self.other_bundle, "--title", "Other")

        side = SIZE // 4
        latents = floats(wave(4 * side * side))
        for path, tensors in {
            self.vae_inputs: [("latents", "F32", [1, 4, side, side], latents)],
            self.unet_inputs: [
                ("sample", "F32", [1, 4, side, side], latents),
                ("timestep", "F32", [1], floats([999.0])),
                ("encoder_hidden_states", "F32", [1, 16, 32], floats(wave(16 * 32))),
            ],
            self.text_inputs: [("input_ids", "F32", [1, 16], floats([float(index % 5) for index in range(16)]))],
            self.two_latents: [
                ("in0", "F32", [1, 4, side, side], latents),
                ("in1", "F32", [1, 4, side, side], floats(wave(4 * side * side, 0.9))),
            ],
        }.items():
            path.write_bytes(Tensors.of(tensors).bytes())
        self.published.write_bytes(published_checkpoint())
        font, names = emoji_font(EMOJI)
        self.font.write_bytes(font)
        self.annotations.write_text(names, encoding="utf-8")

    def pairs_command(self, out, count=8, shard=4):
        options = ["--count", count, "--shard", shard, "--batch", 2, "--steps", 2, "--device", "cpu"]
        return ["pairs", "--teacher", self.teacher, "--data", self.images, *options, "--out", out]

    def emoji_command(self, out, size=32):
        """`data emoji` with the font of rectangles: no font needs to be installed."""
        files = ["--font", self.font, "--annotations", self.annotations]
        return ["data", "emoji", "--subset", "all", "--size", size, *files, "--out", out]


NAMES = {
    "images": "images",
    "autoencoder": "autoencoder",
    "teacher": "teacher",
    "model": "teacher/model",
    "other_teacher": "other-teacher",
    "features": "features",
    "metric": "features/metric",
    "pairs": "pairs",
    "bundle": "bundle",
    "other_bundle": "other-bundle",
    "vae_inputs": "vae-inputs.safetensors",
    "unet_inputs": "unet-inputs.safetensors",
    "text_inputs": "text-inputs.safetensors",
    "two_latents": "two-latents.safetensors",
    "published": "sd15_published.pth",
    "font": "font.ttf",
    "annotations": "annotations.xml",
}


def published_shapes():
    """The tensors of the published metric for Stable Diffusion 1.5: VGG16 with batch norms for 4 channels, and five heads."""
    slices = [[0, 3], [7, 10], [14, 17, 20], [24, 27, 30], [34, 37, 40]]
    shapes = {}
    channels = 4
    for number, (indices, width) in enumerate(zip(slices, [64, 128, 256, 512, 512])):
        for index in indices:
            start = f"net.slice{number + 1}"
            shapes |= {f"{start}.{index}.weight": (width, channels, 3, 3), f"{start}.{index}.bias": (width,)}
            shapes |= {f"{start}.{index + 1}.{part}": (width,) for part in ["weight", "bias", "running_mean", "running_var"]}
            channels = width
        shapes[f"lin{number}.model.1.weight"] = (1, width, 1, 1)
    return shapes


# All tensors are views of one storage: a checkpoint of 9 MB instead of 59.
PUBLISHED_ELEMENTS = 512 * 512 * 9
PUBLISHED_STORAGE = floats([0.01]) * PUBLISHED_ELEMENTS


def published_pickle(changes=None):
    """The state dictionary, with some entries replaced; None leaves an entry out."""
    entries = {name: stored_tensor(shape, PUBLISHED_ELEMENTS) for name, shape in published_shapes().items()} | (changes or {})
    return Pickle().value({name: value for name, value in entries.items() if value is not None}).end()


def published_checkpoint(changes=None, storages=None, byte_order="little"):
    storages = {"0": PUBLISHED_STORAGE} if storages is None else storages
    return checkpoint(published_pickle(changes), storages, byte_order)
