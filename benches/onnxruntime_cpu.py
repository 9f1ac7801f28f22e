"""onnxruntime on the CPU, as one side of the comparison.

    python benches/onnxruntime_cpu.py FOLDER TENSORS THREADS

FOLDER has the three ONNX files, TENSORS what our CPU path took and gave. The first line of output says what this is and how far
its results are from ours (relative L2); then each line of input names a component or `image` and is answered with its milliseconds.
"""

import json
import sys
import time

import numpy
import onnxruntime
from safetensors.numpy import load_file

COMPONENTS = {"text_encoder": ["input_ids"], "generator": ["noise", "encoder_hidden_states"], "decoder": ["latents"]}
OUTPUTS = {"text_encoder": "encoder_hidden_states", "generator": "latents", "decoder": "sample"}


def main(folder, tensors, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Its threads spin while they wait for work. The sides take turns, so that nobody else's time shall be spent by them.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    begun = time.perf_counter()
    sessions = {name: onnxruntime.InferenceSession(f"{folder}/{name}.onnx", options, providers=["CPUExecutionProvider"]) for name in COMPONENTS}
    opened = (time.perf_counter() - begun) * 1e3
    known = load_file(tensors)
    known["input_ids"] = known["input_ids"].astype(numpy.int32)

    def run(name, given=known):
        return sessions[name].run(None, {port: given[port] for port in COMPONENTS[name]})[0]

    def image():
        states = run("text_encoder")
        latents = run("generator", {"noise": known["noise"], "encoder_hidden_states": states})
        sample = run("decoder", {"latents": latents})[0]
        return numpy.clip((sample.transpose(1, 2, 0) + 1) * 127.5 + 0.5, 0, 255).astype(numpy.uint8)

    def distance(name):
        expected = known[OUTPUTS[name]]
        return float(numpy.linalg.norm(run(name) - expected) / numpy.linalg.norm(expected))

    facts = {"version": onnxruntime.__version__, "opened_ms": opened, "agreement": {name: distance(name) for name in COMPONENTS}}
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name = line.strip()
        begun = time.perf_counter()
        image() if name == "image" else run(name)
        print(json.dumps({"ms": (time.perf_counter() - begun) * 1e3}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
