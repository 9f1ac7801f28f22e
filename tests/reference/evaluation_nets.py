"""Writes tests/fixtures/evaluation: the evaluation networks with random weights, their inputs and outputs.

CLIP is tiny and stored as `nets.py` stores its cases. Inception-v3 has one size, of 24 million parameters, so its weights and
images are not stored but computed, here and in crates/onestep-nets/tests/evaluation_parity.rs alike: see `uniform` and
`weight`. The outputs are computed in f64 and stored as f32.

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/evaluation_nets.py
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE
from transformers import CLIPConfig, CLIPModel

from nets import normal, randomise, write

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "evaluation"


# Seeds of stored results that are not the hash of their name.
SEEDS = {"images": 0x11678C3992BB9EAE}


def uniform(name, shape):
    """Multiples of 2^-23 within -1..1, f64: splitmix64 of FNV-1a(name) ^ index, its upper 24 bits, in row-major order."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(SEEDS.get(name, state)) ^ np.arange(np.prod(shape), dtype=np.uint64)
    with np.errstate(over="ignore"):
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def weight(name, shape):
    """The parameter `name` of Inception-v3, f32; matrices keep the size of activations, variances are 0.5 to 1.5."""
    u = uniform(name, shape)
    if name.endswith("running_var"):
        u = 1 + u / 2
    elif len(shape) == 1 and name.endswith(".weight"):
        u = 1 + u / 4
    elif len(shape) == 1:
        u = u / 4
    else:
        u = u * np.sqrt(6 / np.prod(shape[1:]))
    return torch.from_numpy(u.astype(np.float32))


class FidA(InceptionA):
    """As pytorch-fid's FIDInceptionA: zeros at the border do not count."""

    def _forward(self, x):
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        return [self.branch1x1(x), branch5x5, branch3x3dbl, self.branch_pool(pool)]


class FidC(InceptionC):
    """As pytorch-fid's FIDInceptionC: zeros at the border do not count."""

    def _forward(self, x):
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        branch7x7dbl = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        branch7x7dbl = self.branch7x7dbl_5(self.branch7x7dbl_4(branch7x7dbl))
        pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        return [self.branch1x1(x), branch7x7, branch7x7dbl, self.branch_pool(pool)]


class FidE1(InceptionE):
    """As pytorch-fid's FIDInceptionE_1: zeros at the border do not count."""

    def pool(self, x):
        return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)

    def _forward(self, x):
        branch3x3 = self.branch3x3_1(x)
        branch3x3 = torch.cat([self.branch3x3_2a(branch3x3), self.branch3x3_2b(branch3x3)], 1)
        branch3x3dbl = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branch3x3dbl = torch.cat([self.branch3x3dbl_3a(branch3x3dbl), self.branch3x3dbl_3b(branch3x3dbl)], 1)
        return [self.branch1x1(x), branch3x3, branch3x3dbl, self.branch_pool(self.pool(x))]


class FidE2(FidE1):
    """As pytorch-fid's FIDInceptionE_2: a maximum, an oddity of the network that was published."""

    def pool(self, x):
        return F.max_pool2d(x, kernel_size=3, stride=1, padding=1)


def inception_v3(fid):
    """torchvision's network, or pytorch-fid's."""
    classes = 1008 if fid else 1000
    model = Inception3(num_classes=classes, aux_logits=False, transform_input=False, init_weights=False)
    if fid:
        model.Mixed_5b = FidA(192, pool_features=32)
        model.Mixed_5c = FidA(256, pool_features=64)
        model.Mixed_5d = FidA(288, pool_features=64)
        model.Mixed_6b = FidC(768, channels_7x7=128)
        model.Mixed_6c = FidC(768, channels_7x7=160)
        model.Mixed_6d = FidC(768, channels_7x7=160)
        model.Mixed_6e = FidC(768, channels_7x7=192)
        model.Mixed_7b = FidE1(1280)
        model.Mixed_7c = FidE2(2048)
    state = {k: weight(k, v.shape) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return model.double().eval().requires_grad_(False)


def features(model, images):
    """What `fc` is applied to, and what it says."""
    seen = []
    handle = model.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    logits = model(images)
    handle.remove()
    return seen[0], logits


def inception():
    """Two images of the full size by both networks; the gradient of a small one, which is not square."""
    tensors = {}
    images = torch.from_numpy(uniform("images", (2, 3, 299, 299)))
    for layout in ["fid", "torchvision"]:
        model = inception_v3(layout == "fid")
        tensors[f"{layout}.features"], tensors[f"{layout}.logits"] = features(model, images)
        small = torch.from_numpy(uniform("small", (1, 3, 91, 107))).requires_grad_()
        tensors[f"{layout}.small.features"], _ = features(model, small)
        if layout == "fid":
            probe = torch.from_numpy(uniform("probe", (1, 2048)))
            (tensors["fid.small.features"] * probe).sum().backward()
            tensors["fid.small.gradient"] = small.grad
    for name, tensor in tensors.items():
        distance = (tensor[0] - tensor[1]).norm() / tensor[0].norm() if len(tensor) > 1 else 0.0
        print(f"{name}: {tuple(tensor.shape)}, mean {tensor.mean():.3g}, deviation {tensor.std():.3g}, distance of images {distance:.3g}")
    folder = OUT / "inception"
    folder.mkdir(parents=True)
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, folder / "case.safetensors")


def clip(name, seed, dtype, ids, text, vision, **options):
    """One CLIP, with the gradient of `sum(image_embeds * probe)` with respect to the images."""
    config = CLIPConfig(text_config=text, vision_config=vision, **options)
    model = randomise(CLIPModel(config), seed, dtype)
    ids = torch.tensor(ids)
    images = normal(seed + 1, 2, vision["num_channels"], vision["image_size"], vision["image_size"]).requires_grad_()
    image = model.get_image_features(images).pooler_output
    words = model.get_text_features(ids).pooler_output
    probe = normal(seed + 2, *image.shape)
    (image * probe).sum().backward()
    tensors = {"ids": ids, "text_embeds": words, "images": images, "image_embeds": image}
    tensors |= {"probe": probe, "gradient": images.grad}
    keys = json.loads(config.to_json_string(use_diff=False))
    keys["architectures"] = [type(model).__name__]
    weights = dict(model.state_dict())
    # Buffers that published files have and transformers dropped.
    weights["text_model.embeddings.position_ids"] = torch.arange(text["max_position_embeddings"])[None]
    positions = len(weights["vision_model.embeddings.position_embedding.weight"])
    weights["vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
    write(name, keys, weights, dtype, tensors, out=OUT)


def main():
    torch.manual_seed(0)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    # An old file's end of a text, which stands for the highest id; an image that its patches do not fill.
    clip(
        "clip-quick-gelu", 1000, torch.float16, [[28, 3, 7, 29, 29, 29], [28, 29, 0, 0, 0, 0]],
        dict(vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=7, hidden_act="quick_gelu", eos_token_id=2, bos_token_id=0, pad_token_id=1,
             projection_dim=99),
        dict(hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=3, num_channels=3, image_size=14,
             patch_size=4, hidden_act="quick_gelu"),
        projection_dim=10,
    )
    clip(
        "clip-gelu", 1100, torch.float32, [[1, 5, 20, 20, 3], [1, 20, 25, 0, 0], [1, 2, 3, 4, 5]],
        dict(vocab_size=26, hidden_size=12, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2,
             max_position_embeddings=5, hidden_act="gelu", eos_token_id=20, bos_token_id=1, pad_token_id=0, layer_norm_eps=1e-4),
        dict(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, num_channels=3, image_size=6,
             patch_size=3, hidden_act="gelu", layer_norm_eps=1e-4),
        projection_dim=16,
    )
    inception()


if __name__ == "__main__":
    main()
