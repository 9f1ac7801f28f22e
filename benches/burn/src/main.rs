//! The networks on burn itself, as one side of the comparison.
//!
//! `onestep-bench-burn FOLDER TENSORS DEVICE`: FOLDER is a pipeline folder, TENSORS what our CPU path took and gave, DEVICE one of
//! burn's: cpu, wgpu, vulkan. The first line of output says how far the results are from ours (relative L2); then each line of input
//! names a component or `image` and is answered with its milliseconds.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep_nets::{ClipTextModel, Decoder, Generator};
use onestep_train::pipeline_folder::PipelineFolder;
use safetensors::SafeTensors;
use serde_json::json;

type Failed = Box<dyn Error>;

struct Side {
    device: Device,
    text_encoder: ClipTextModel,
    generator: Generator,
    decoder: Decoder,
}

/// A tensor of the reference.
struct Known {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Known {
    fn read(file: &SafeTensors<'_>, name: &str) -> Result<Self, Failed> {
        let view = file.tensor(name)?;
        let data = view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok(Self { shape: view.shape().to_vec(), data })
    }

    fn on<const D: usize>(&self, device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(self.data.clone(), self.shape.clone()), device)
    }

    fn ids_on(&self, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i32> = self.data.iter().map(|&id| id as i32).collect();
        Tensor::from_data(TensorData::new(ids, self.shape.clone()), device)
    }

    /// The difference's norm over ours.
    fn distance(&self, found: &[f32]) -> f64 {
        let square = |value: f32| f64::from(value) * f64::from(value);
        let difference: f64 = self.data.iter().zip(found).map(|(&a, &b)| square(a - b)).sum();
        (difference / self.data.iter().map(|&value| square(value)).sum::<f64>()).sqrt()
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Failed> {
    tensor.into_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}").into())
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, tensors, device] = arguments.as_slice() else { return Err("give FOLDER, TENSORS and DEVICE".into()) };
    let bytes = std::fs::read(tensors)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let known = |name: &str| Known::read(&file, name);
    let (ids, noise, states) = (known("input_ids")?, known("noise")?, known("encoder_hidden_states")?);
    let (latents, sample) = (known("latents")?, known("sample")?);

    let begun = Instant::now();
    let folder = PipelineFolder::open(Path::new(folder))?;
    let device = onestep_train::device::select(Some(device))?;
    let side = Side {
        text_encoder: folder.text_encoder(&device)?,
        generator: Generator::new(folder.unet(&device)?, folder.one_step_rule(None, None)?),
        decoder: Decoder::new(folder.vae(&device)?),
        device,
    };
    let opened = milliseconds(begun);
    let run = |name: &str| -> Result<Vec<f32>, Failed> {
        let device = &side.device;
        match name {
            "text_encoder" => host(side.text_encoder.forward(ids.ids_on(device)).last_hidden_state),
            "generator" => host(side.generator.forward(noise.on(device), states.on(device))),
            "decoder" => host(side.decoder.forward(latents.on(device))),
            "image" => {
                let states = side.text_encoder.forward(ids.ids_on(device)).last_hidden_state;
                host(side.decoder.forward(side.generator.forward(noise.on(device), states)))
            }
            other => Err(format!("no component {other:?}").into()),
        }
    };
    let agreement = json!({
        "text_encoder": states.distance(&run("text_encoder")?), "generator": latents.distance(&run("generator")?), "decoder": sample.distance(&run("decoder")?),
    });
    answer(&json!({ "version": "0.22.1", "device": format!("{:?}", side.device), "opened_ms": opened, "agreement": agreement }))?;
    for line in io::stdin().lock().lines() {
        let begun = Instant::now();
        run(line?.trim())?;
        answer(&json!({ "ms": milliseconds(begun) }))?;
    }
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn answer(line: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
