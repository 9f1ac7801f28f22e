"""Writes tests/fixtures/evaluation/latent_lpips: the published metrics' network on latents, with computed weights, its features and distances.

The network is torchvision's vgg16_bn with a first convolution for latents and without the poolings at 6, 13 and 23; features are
taken at 6, 13, 23, 33 and 43 (the last two behind their poolings), brought to unit length, and compared channel by channel with
weights that are not negative. Its 14.7 million parameters are computed as those of `evaluation_nets.py` are, under the names of
the published files. Computed in f64, stored as f32.

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/latent_lpips.py
    python tests/reference/latent_lpips.py --published FOLDER   # the same weights as FOLDER/sd15_latest_vgg16_tuned.pth
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from torchvision.models import vgg16_bn

from evaluation_nets import uniform, weight

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "evaluation" / "latent_lpips"
ENDS = [7, 14, 24, 34, 44]
WIDTHS = [64, 128, 256, 512, 512]


class LatentLpips(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        layers = list(vgg16_bn(weights=None).features)
        layers[0] = torch.nn.Conv2d(channels, 64, 3, padding=1)
        for pooling in (6, 13, 23):
            layers[pooling] = torch.nn.Identity()
        self.net = torch.nn.Module()
        for index, (start, end) in enumerate(zip([0, *ENDS], ENDS)):
            part = torch.nn.Sequential()
            for index in range(start, end):
                part.add_module(str(index), layers[index])
            setattr(self.net, f"slice{index + 1}", part)
        for index, width in enumerate(WIDTHS):
            lin = torch.nn.Module()
            lin.model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Conv2d(width, 1, 1, bias=False))
            setattr(self, f"lin{index}", lin)
        self.eval().requires_grad_(False)
        state = {}
        for name, old in self.state_dict().items():
            if name.endswith("num_batches_tracked"):
                state[name] = old
            elif name.startswith("lin"):
                state[name] = torch.from_numpy(((1 + uniform(name, tuple(old.shape))) / 2 / old.shape[1]).astype("float32"))
            else:
                state[name] = weight(name, tuple(old.shape))
        self.load_state_dict(state)

    def features(self, x):
        found = []
        for index in range(5):
            x = getattr(self.net, f"slice{index + 1}")(x)
            found.append(x)
        return found

    def per_layer(self, x0, x1):
        terms = []
        for index, (a, b) in enumerate(zip(self.features(x0), self.features(x1))):
            a, b = (f / (f.square().sum(1, keepdim=True) + 1e-8).sqrt() for f in (a, b))
            terms.append(getattr(self, f"lin{index}").model[1]((a - b).square()).mean((1, 2, 3)))
        return torch.stack(terms, 1)


def latents(name, *shape):
    return torch.from_numpy(uniform(name, shape)) * 1.7


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, channels, size in [("sd15", 4, (16, 12)), ("sd3", 16, (9, 11))]:
        model = LatentLpips(channels).double()
        x0, x1 = latents(f"{name}.in0", 2, channels, *size).requires_grad_(), latents(f"{name}.in1", 2, channels, *size)
        terms = model.per_layer(x0, x1)
        terms.sum().backward()
        tensors |= {f"{name}.per_layer": terms.detach(), f"{name}.distance": terms.detach().sum(1), f"{name}.gradient": x0.grad}
        if name == "sd15":
            for index, feature in enumerate(model.features(latents("small", 1, channels, 8, 8))):
                tensors[f"{name}.feature{index}"] = feature
    save_file({name: value.float().contiguous() for name, value in tensors.items()}, OUT / "case.safetensors")


if __name__ == "__main__":
    if "--published" in sys.argv:
        folder = pathlib.Path(sys.argv[sys.argv.index("--published") + 1])
        model = LatentLpips(4)
        state = dict(model.state_dict())
        state |= {name.replace("lin", "lins.", 1): value for name, value in model.state_dict().items() if name.startswith("lin")}
        torch.save(state, folder / "sd15_latest_vgg16_tuned.pth")
        save_file({n: latents(f"sd15.{n}", 2, 4, 16, 12).float() for n in ("in0", "in1")}, folder / "inputs.safetensors")
    else:
        main()
