//! The cost of E-LatentLPIPS against decoding and pixel LPIPS, forward and backward, for Stable Diffusion's shapes (latents of 4×64×64, its decoder, images of 512×512, both metrics on a whole VGG-16 with batch norms; seeded random weights).
//!
//! ```text
//! cargo run --release -p onestep-train --example metric_cost -- [--device NAME] [--batch N] [--rounds N]
//! ```
//!
//! Each distance runs in a separate process, so that its peak memory can be measured. The teacher's latent is decoded too, without gradients, as
//! training would. Memory is the peak of the process; on CUDA it is the GPU memory in use at the end, because PyTorch's allocator frees nothing.
//! `extra` is the memory beyond that with the weights loaded, before the first distance.

use std::process::Command;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{AutoencoderKlConfig, Init, LatentLpipsConfig, MetricSpace};
use onestep_noise::{Stream, normal};
use onestep_train::latent_metric::{e_latent_lpips, latent_augmentation::LatentAugmentationOptions};

const SIDES: [&str; 2] = ["e-latent-lpips", "decode + pixel-lpips"];
/// Channels, rows, columns of a latent of Stable Diffusion.
const LATENT: [usize; 3] = [4, 64, 64];
const DECODER: &str = include_str!("../../../benches/networks/sd15/vae/config.json");

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)).cloned();
    let number = |name: &str, default: usize| value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")));
    let device = value("--device").unwrap_or_else(|| "cpu".into());
    let (batch, rounds) = (number("--batch", 1), number("--rounds", 3));
    if let Some(side) = value("--side") {
        return measure(&side, &device, batch, rounds);
    }

    println!("latents {batch}×4×64×64, f32, device {device}, {} cores, median of {rounds} after one more", cores());
    println!("| distance, forward and backward | time, s | peak memory, MiB | extra, MiB |\n| --- | --- | --- | --- |");
    let program = std::env::current_exe().expect("the program's own path");
    let mut found: Vec<[f64; 3]> = Vec::new();
    for side in SIDES {
        let words = ["--side", side, "--device", &device, "--batch", &batch.to_string(), "--rounds", &rounds.to_string()].map(str::to_owned);
        let output = Command::new(&program).args(words).output().expect("the program starts again");
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let Ok(numbers) = <[f64; 3]>::try_from(numbers) else {
            println!("| {side} | ended with {} | – | – |", output.status);
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            continue;
        };
        println!("| {side} | {:.3} | {:.0} | {:.0} |", numbers[0], numbers[1], numbers[2]);
        found.push(numbers);
    }
    if let [ours, theirs] = found[..] {
        println!("| **ratio** | **{:.1}** | **{:.1}** | **{:.1}** |", theirs[0] / ours[0], theirs[1] / ours[1], theirs[2] / ours[2].max(1.0));
    }
}

/// Prints the median time and the memory of one side.
fn measure(side: &str, device: &str, batch: usize, rounds: usize) {
    let on_gpu = device.contains("cuda");
    let device = onestep_train::device::select(Some(device)).expect("a device of this build").autodiff();
    device.clone().inner().seed(1);
    let empty = memory(on_gpu);
    let distance = distance_of(side, batch, &device);
    let latents = |index: u64| values(index, batch, &device);
    let mut times = Vec::new();
    let mut loaded = 0.0;
    for round in 0..=rounds as u64 {
        let (student, teacher) = (latents(2 * round).require_grad(), latents(2 * round + 1));
        settle(&teacher);
        loaded = if round == 0 { memory(on_gpu) } else { loaded };
        let begun = Instant::now();
        finish(&student, distance(round, student.clone(), teacher));
        times.push(begun.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let peak = memory(on_gpu);
    println!("{} {} {}", times[times.len() / 2], if on_gpu { peak - empty.min(peak) } else { peak }, peak - loaded);
}

/// From the number of a round and the latents of student and teacher to their mean distance.
type Distance = Box<dyn Fn(u64, Tensor<4>, Tensor<4>) -> Tensor<1>>;

/// A side with its weights loaded.
fn distance_of(side: &str, batch: usize, device: &Device) -> Distance {
    let mut config = LatentLpipsConfig::published("sd15").expect("a published metric");
    if side == SIDES[0] {
        let metric = config.init(device).no_grad();
        let device = device.clone();
        return Box::new(move |round, student, teacher| {
            let augmentation = LatentAugmentationOptions::default().sample(0, round, batch, [LATENT[1], LATENT[2]], &device);
            e_latent_lpips::distance(&metric, Some(&augmentation), 0.0, student, teacher).mean()
        });
    }
    config.space = MetricSpace::Pixel;
    config.in_channels = 3;
    let metric = config.init(device).no_grad();
    let vae = AutoencoderKlConfig::from_json(DECODER).expect("Stable Diffusion's configuration").init(device).no_grad();
    let plain = vae.valid();
    Box::new(move |_, student, teacher| {
        let teacher = Tensor::from_inner(plain.decode(plain.from_model_space(teacher.inner())));
        metric.forward(vae.decode(vae.from_model_space(student)), teacher).mean()
    })
}

fn values(index: u64, batch: usize, device: &Device) -> Tensor<4> {
    let values = normal(0, Stream::Training, index, batch * LATENT.iter().product::<usize>());
    Tensor::from_data(TensorData::new(values, [batch, LATENT[0], LATENT[1], LATENT[2]]), device)
}

/// Waits for the device.
fn settle(x: &Tensor<4>) {
    let sum: f32 = x.clone().inner().sum().into_scalar();
    assert!(sum.is_finite());
}

/// The gradient at the student's latent, waited for.
fn finish(student: &Tensor<4>, distance: Tensor<1>) {
    let gradients = distance.backward();
    settle(&Tensor::from_inner(student.grad(&gradients).expect("a gradient at the latent")));
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// MiB: this process's peak so far, or what the GPU holds now.
fn memory(on_gpu: bool) -> f64 {
    if on_gpu {
        let output = Command::new("nvidia-smi").args(["--query-gpu=memory.used", "--format=csv,noheader,nounits"]).output();
        return output.ok().and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok()).unwrap_or(f64::NAN);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
