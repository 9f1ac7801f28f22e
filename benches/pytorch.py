"""PyTorch in f16 on an NVIDIA GPU, as one side of the comparison. Speaks as onnxruntime_cpu.py does.

    python benches/pytorch.py MODEL TENSORS eager|compiled
"""

import json
import pathlib
import sys
import time

import torch
from networks import components
from safetensors.torch import load_file

GIVES = {"text_encoder": "encoder_hidden_states", "generator": "latents", "decoder": "sample"}


def main(model, tensors, mode):
    if not torch.cuda.is_available():
        raise SystemExit("there is no NVIDIA GPU")
    torch.backends.cudnn.benchmark = True
    begun = time.perf_counter()
    known = load_file(tensors)
    known["input_ids"] = known["input_ids"].int()
    parts = {name: (module.half().cuda().to(memory_format=torch.channels_last), list(takes)) for name, (module, takes, _) in components(pathlib.Path(model)).items()}
    if mode == "compiled":
        parts = {name: (torch.compile(module), takes) for name, (module, takes) in parts.items()}
    opened = (time.perf_counter() - begun) * 1e3

    def on_gpu(tensor):
        return (tensor.half() if tensor.is_floating_point() else tensor).cuda()

    @torch.inference_mode()
    def run(name, given={}):
        module, takes = parts[name]
        return module(*(given[port] if port in given else on_gpu(known[port]) for port in takes))

    def image():
        states = run("text_encoder")
        latents = run("generator", {"encoder_hidden_states": states})
        return ((run("decoder", {"latents": latents}).float() + 1) * 127.5).round().clamp(0, 255).byte().cpu()

    def distance(name):
        expected = known[GIVES[name]]
        return float((run(name).float().cpu() - expected).norm() / expected.norm())

    facts = {"version": torch.__version__, "device": torch.cuda.get_device_name(), "opened_ms": opened, "agreement": {name: distance(name) for name in GIVES}}
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name = line.strip()
        begun = time.perf_counter()
        image() if name == "image" else run(name).float().cpu()
        print(json.dumps({"ms": (time.perf_counter() - begun) * 1e3}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
