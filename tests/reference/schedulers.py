"""Writes tests/fixtures/schedulers/cases.json: timesteps and final latents of diffusers' schedulers.

The network is a small fixed function, `tanh(A x + d + b sin(t/150) + c)`, with the guidance of a pipeline. Fresh noise is
taken from the file instead of a generator. One-step rules are the steps of the schedulers that their pipelines use.

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/schedulers.py
"""

import importlib
import json
import logging
import pathlib
import warnings

import diffusers
import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "schedulers"
SIZE = 8
GUIDANCE = 3.0
STEPS = (1, 4, 20, 50)
SPACINGS = ("linspace", "leading", "trailing")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

random = torch.Generator().manual_seed(18)
A = (torch.randn(SIZE, SIZE, generator=random) / SIZE**0.5).float()
B, C, D = (torch.randn(3, SIZE, generator=random) * 0.3).float()
Z = torch.randn(SIZE, generator=random).float()
IMAGE = torch.randn(SIZE, generator=random).float()
NOISE = torch.randn(50, SIZE, generator=random).float()


def network(x, t):
    """The output with guidance, in f64."""
    bias = B.double() * torch.sin(torch.as_tensor(float(t)).double() / 150) + C.double()
    without, given = (torch.tanh(A.double() @ x + bias + add) for add in (0.0, D.double()))
    return without + GUIDANCE * (given - without)


def fresh():
    """Replaces `randn_tensor` by rows of NOISE, in order."""
    rows = iter(NOISE)
    for module in ("euler_discrete", "euler_ancestral_discrete", "dpmsolver_multistep", "lcm", "ddim"):
        module = importlib.import_module(f"diffusers.schedulers.scheduling_{module}")
        module.randn_tensor = lambda shape, **_: next(rows).double()


def sample(scheduler, steps, strength=None):
    """Timesteps and final latents, as StableDiffusionPipeline and StableDiffusionImg2ImgPipeline call a scheduler."""
    fresh()
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    if strength is None:
        # Otherwise a scheduler of sigmas begins with the second of two equal timesteps.
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        x = Z.double() * scheduler.init_noise_sigma
    else:
        start = steps - min(int(steps * strength), steps)
        timesteps = timesteps[start:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        x = scheduler.add_noise(IMAGE.double()[None], Z.double()[None], timesteps[:1])[0]
    for t in timesteps:
        output = network(scheduler.scale_model_input(x, t).double(), t)
        x = scheduler.step(output, t, x, return_dict=False)[0].double()
    return [float(t) for t in timesteps], x


def numbers(values):
    return [float(f"{float(v):.9g}") for v in values]


def case(name, config, steps, as_class=None, strength=None):
    cls = getattr(diffusers, as_class or name)
    scheduler = cls.from_config({"_class_name": name, **config})
    timesteps, latents = sample(scheduler, steps, strength)
    assert torch.isfinite(latents).all(), (name, config, steps)
    entry = {"config": {"_class_name": name, **config}, "steps": steps, "timesteps": numbers(timesteps), "latents": numbers(latents)}
    if as_class:
        entry["as"] = as_class
    if strength is not None:
        entry["strength"] = strength
    return entry


def cases():
    classes = {
        "DDIMScheduler": {"clip_sample": False},
        "PNDMScheduler": {"skip_prk_steps": True},
        "EulerDiscreteScheduler": {},
        "EulerAncestralDiscreteScheduler": {},
        "DPMSolverMultistepScheduler": {},
    }
    for name, own in classes.items():
        for spacing in SPACINGS:
            for prediction in PREDICTIONS:
                if prediction == "sample" and name in ("PNDMScheduler", "EulerAncestralDiscreteScheduler"):
                    continue
                for steps in STEPS:
                    config = {**SD, **own, "timestep_spacing": spacing, "prediction_type": prediction}
                    yield case(name, config, steps)
    for prediction in PREDICTIONS:
        for steps in STEPS:
            yield case("LCMScheduler", {"prediction_type": prediction}, steps)
    # The classes' own defaults, and each key that matters.
    for name in [*classes, "LCMScheduler"]:
        yield case(name, {}, 20)
        yield case(name, {**SD, "steps_offset": 1, "set_alpha_to_one": False}, 10)
        yield case(name, {"beta_schedule": "squaredcos_cap_v2"}, 10)
        yield case(name, {"trained_betas": [0.01 + 0.0007 * i for i in range(100)], "num_train_timesteps": 100}, 7)
    for name in classes.keys() - {"PNDMScheduler"} | {"LCMScheduler"}:
        zero = {**SD, "rescale_betas_zero_snr": True, "clip_sample": False}
        for steps in (1, 10):
            yield case(name, {**zero, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}, steps)
    for limit in (0.5, 1.0):
        for prediction in PREDICTIONS:
            clip = {**SD, "clip_sample": True, "clip_sample_range": limit, "prediction_type": prediction}
            yield case("DDIMScheduler", clip, 10)
            yield case("LCMScheduler", clip, 4)
    for prediction in PREDICTIONS[:2]:
        for steps in (4, 20, 50):
            yield case("PNDMScheduler", {**SD, "prediction_type": prediction}, steps)
    for name in ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
        # DPM-Solver cuts the timesteps of exponential sigmas without rounding them: they depend on rounding errors.
        exponential = ["use_exponential_sigmas"] if name == "EulerDiscreteScheduler" else []
        for key in ["use_karras_sigmas", *exponential]:
            for steps in (1, 4, 20):
                yield case(name, {**SD, key: True}, steps)
            yield case(name, {**SD, key: True, "sigma_min": 0.1, "sigma_max": 9.0}, 8)
            if exponential:
                yield case(name, {**SD, key: True, "beta_schedule": "squaredcos_cap_v2"}, 8)
        yield case(name, {**SD, "final_sigmas_type": "sigma_min"}, 8)
        yield case(name, {**SD, "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}, 20)
    yield case("EulerDiscreteScheduler", {**SD, "interpolation_type": "log_linear"}, 8)
    yield case("EulerDiscreteScheduler", {**SD, "prediction_type": "sample", "timestep_spacing": "trailing"}, 1)
    dpm = "DPMSolverMultistepScheduler"
    for order in (1, 2, 3):
        for kind in ("midpoint", "heun"):
            for algorithm in ("dpmsolver++", "sde-dpmsolver++"):
                for steps in (8, 20):
                    yield case(dpm, {**SD, "solver_order": order, "solver_type": kind, "algorithm_type": algorithm}, steps)
    for key in ("use_lu_lambdas", "euler_at_final"):
        yield case(dpm, {**SD, key: True, "lambda_min_clipped": float("-inf")}, 20)
    for lower in (True, False):
        yield case(dpm, {**SD, "lower_order_final": lower, "final_sigmas_type": "sigma_min", "solver_order": 3}, 10)
    yield case(dpm, {"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"}, 10)
    yield case(dpm, {**SD, "algorithm_type": "deis", "solver_type": "logrho", "final_sigmas_type": "sigma_min"}, 10)
    yield case("LCMScheduler", {"original_inference_steps": 40, "timestep_scaling": 3.0}, 7)
    # Another class for the same file.
    published = {**SD, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1, "trained_betas": None, "clip_sample": False}
    for name in [*classes, "LCMScheduler"]:
        yield case("PNDMScheduler", published, 4, as_class=name)
        yield case("UniPCMultistepScheduler", {**SD, "solver_type": "bh2", "timestep_spacing": "trailing"}, 4, as_class=name)
    # From an initial image.
    for name in [*classes, "LCMScheduler"]:
        for strength in (0.35, 0.75):
            yield case(name, {**SD, "skip_prk_steps": True, "clip_sample": False, "steps_offset": 1}, 10, strength=strength)


def one_step(rule, name, config, prediction, timestep=None, timesteps=None, guidance_from=None):
    """One step of the scheduler that the rule's pipeline uses; `timestep` is what the rule is told."""
    scheduler = getattr(diffusers, name).from_config({**config, "_class_name": name, "prediction_type": prediction})
    fresh()
    scheduler.set_timesteps(**({"timesteps": timesteps} if timesteps else {"num_inference_steps": 1}))
    x = Z.double() * scheduler.init_noise_sigma
    t = scheduler.timesteps[0]
    output = network(scheduler.scale_model_input(x, t).double(), t)
    x = scheduler.step(output, t, x, return_dict=False)[0]
    entry = {"rule": rule, "config": {**config, "_class_name": name, "prediction_type": prediction}, "at": float(t)}
    return entry | {"timestep": timestep, "latents": numbers(x)}


def one_steps():
    for prediction in PREDICTIONS:
        trailing = {**SD, "timestep_spacing": "trailing"}
        yield one_step("turbo", "EulerDiscreteScheduler", trailing, prediction)
        yield one_step("lcm", "LCMScheduler", SD, prediction)
        yield one_step("lcm", "LCMScheduler", {**SD, "original_inference_steps": 40, "timestep_scaling": 2.0}, prediction)
        yield one_step("dmd2", "LCMScheduler", SD, prediction, timesteps=[399])
        leading = {**SD, "clip_sample": False, "timestep_spacing": "leading", "steps_offset": 800}
        yield one_step("x0", "DDIMScheduler", leading, prediction, timestep=800)
        yield one_step("x0", "DDIMScheduler", {**SD, "clip_sample": False, "timestep_spacing": "trailing"}, prediction)
    yield one_step("turbo", "EulerAncestralDiscreteScheduler", trailing, "epsilon")
    zero = {**trailing, "rescale_betas_zero_snr": True}
    yield one_step("turbo", "EulerDiscreteScheduler", zero, "v_prediction")


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    embed = diffusers.StableDiffusionPipeline.get_guidance_scale_embedding
    embeddings = [
        {"w": w, "size": size, "embedding": numbers(embed(None, torch.tensor([w]), size)[0])} for w in (0.0, 7.5) for size in (16, 7)
    ]
    inputs = {"a": A.flatten(), "b": B, "c": C, "d": D, "z": Z, "image": IMAGE, "noise": NOISE.flatten()}
    lines = [f' "guidance": {GUIDANCE}']
    lines += [f' "{key}": {json.dumps(numbers(value))}' for key, value in inputs.items()]
    for key, rows in (("cases", cases()), ("one_step", one_steps()), ("embeddings", embeddings)):
        # Infinity as Python writes it stays in the files that are read.
        text = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in rows)
        lines.append(f' "{key}": [\n  {text}\n ]')
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
