//! `onestep debug run-component`: one component on given tensors, for debugging and for comparison with other systems.

mod checks;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use onestep::Backend;
use onestep_compile::{Compiled, Names, Options, compile};
use onestep_nets::{AddedConditions, AutoencoderKl, ClipTextModel, Init, UNet2DConditionModel, weights};
use onestep_pipeline::{Layout, OpenOptions, Part, Pipeline};
use onestep_program::{DType, Program, TensorRef, manifest};
use onestep_store::{FileDestination, FileFormat, tensor_bytes};

use crate::exit::{Exit, Failure};
use crate::shared::Shared;
use crate::tensors::{self, HostTensor, Tensors};
use crate::{bundle_folder, output};
use checks::{expect, need, need_rank, rows, shape_error, whole};
use source::{Input, Source, float, ints, to_host};

/// Run one component on given tensors, to compare with other systems.
#[derive(Debug, clap::Args)]
#[command(after_help = "Components of a pipeline folder, and their tensors:\n  \
    unet          sample [B,C,H,W], timestep [B], encoder_hidden_states [B,L,D]\n                \
    (SDXL also text_embeds, time_ids) -> sample\n  \
    vae_encoder   sample [B,C,H,W] -> mean, logvar\n  \
    vae_decoder   latents [B,C,H,W] -> sample\n  \
    text_encoder  input_ids [B,L] -> last_hidden_state, pooler_output (text_embeds)\n  \
    text_encoder_2  the same of the second text encoder of SDXL\n\
    Components of a bundle: as `onestep inspect` names them.\n\n\
    Example:\n  onestep debug run-component unet --model runs/teacher/model \\\n    --inputs in.safetensors --out out.safetensors --device webgpu")]
pub struct RunComponent {
    /// Name of the component
    component: String,
    /// Pipeline folder, component folder (config.json and weights), single file, or bundle
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Variant of the weight files, such as fp16; by default files without one, or the only one
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Safetensors file with the inputs
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// Safetensors file to write the outputs to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Device that runs the component
    #[arg(long, value_enum, default_value_t)]
    device: ComponentDevice,
    /// Hidden state of the text encoder to write as well: 0 for the embedding, -1 for the last layer, -2 for the one before
    #[arg(long, value_name = "LAYER", allow_negative_numbers = true)]
    hidden_state: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ComponentDevice {
    /// The CPU, as a compiled program
    #[default]
    Cpu,
    /// A GPU, through wgpu
    Webgpu,
    /// The CPU, by burn instead of a compiled program
    Burn,
}

impl RunComponent {
    /// Runs the component and prints the path of the result.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let destination = FileDestination::acquire(&self.out, FileFormat::SAFETENSORS, &[&self.inputs, &self.model])?;
        let inputs = tensors::read(&self.inputs)?;
        let outputs = if self.model.join(manifest::FILE_NAME).is_file() { self.of_bundle(&inputs)? } else { self.of_folder(&inputs)? };
        let tensors: Vec<_> = outputs.into_iter().map(|(name, given)| (name, given.shape, given.data)).collect();
        destination.write(&tensor_bytes(&tensors))?;
        if !shared.quiet {
            for (name, shape, _) in &tensors {
                output::message(&format!("{name} {shape:?}"));
            }
        }
        output::path(shared, &self.out)
    }

    fn backend(&self) -> Option<Backend> {
        match self.device {
            ComponentDevice::Cpu => Some(Backend::Cpu),
            ComponentDevice::Webgpu => Some(Backend::WebGpu),
            ComponentDevice::Burn => None,
        }
    }

    fn of_bundle(&self, inputs: &Tensors) -> Result<Tensors, Failure> {
        let Some(backend) = self.backend() else {
            return Err(Failure::new(
                Exit::Usage,
                "a bundle holds programs, which burn does not run; use --device cpu or webgpu, or give a pipeline folder",
            ));
        };
        let bundle = bundle_folder::open(&self.model)?;
        let program = bundle.program(&self.component).map_err(onestep::Error::from)?;
        let mut tensors = Vec::new();
        for port in &program.inputs {
            let value = program.value(port.value);
            let given = need(inputs, &port.name)?;
            if given.shape != value.shape {
                return Err(shape_error(&port.name, &format!("{:?}", value.shape), &given.shape));
            }
            if value.dtype == DType::I32 {
                whole(&port.name, given, rows(program, port.value))?;
            }
            tensors.push(Input { name: &port.name, tensor: given, is_ids: value.dtype == DType::I32 });
        }
        run_program(program, &|name| bundle.weight(name), backend, &tensors)
    }

    fn of_folder(&self, inputs: &Tensors) -> Result<Tensors, Failure> {
        let device = Device::flex();
        let pipeline = Pipeline::open(&self.model, &OpenOptions { variant: self.variant.clone(), ..OpenOptions::default() })?;
        match self.component.as_str() {
            "unet" => self.unet(&pipeline, inputs, &device),
            "vae_encoder" | "vae_decoder" => self.vae(&pipeline, inputs, &device),
            // The folder of one component has either.
            "text_encoder" if pipeline.layout() == Layout::ComponentFolder && pipeline.has(Part::TextEncoder2) => {
                self.text_encoder(&pipeline, Part::TextEncoder2, inputs, &device)
            }
            "text_encoder" => self.text_encoder(&pipeline, Part::TextEncoder, inputs, &device),
            "text_encoder_2" => self.text_encoder(&pipeline, Part::TextEncoder2, inputs, &device),
            other => Err(Failure::new(
                Exit::Usage,
                format!("no component {other:?} in a pipeline folder; there are unet, vae_encoder, vae_decoder, text_encoder and text_encoder_2"),
            )),
        }
    }

    fn unet(&self, pipeline: &Pipeline, inputs: &Tensors, device: &Device) -> Result<Tensors, Failure> {
        let config = pipeline.unet_config()?;
        let net: UNet2DConditionModel = load(pipeline, Part::Unet, config.init(device))?;
        let (sample, text) = (need_rank::<4>(inputs, "sample")?, need_rank::<3>(inputs, "encoder_hidden_states")?);
        let batch = sample.shape[0];
        let timestep = need_rank::<1>(inputs, "timestep")?;
        expect("sample", sample.shape[1] == config.in_channels, &format!("[B,{},H,W]", config.in_channels), &sample.shape)?;
        self.halves("sample", sample, config.block_out_channels.len())?;
        expect("timestep", [1, batch].contains(&timestep.shape[0]), &format!("[1] or [{batch}], as sample has {batch}"), &timestep.shape)?;
        let widths = config.cross_attention_dim.expand(config.block_out_channels.len()).unwrap_or_default();
        let width = widths.first().copied().unwrap_or_default();
        if widths.iter().any(|other| *other != width) {
            let message = format!("cross_attention_dim is {widths:?}: levels that take texts of different widths cannot be evaluated here");
            return Err(Failure::new(Exit::Input, format!("{}: {message}", self.model.display())));
        }
        let fits = text.shape[0] == batch && text.shape[2] == width;
        expect(
            "encoder_hidden_states",
            fits,
            &format!("[{batch},L,{width}], as sample has {batch} and the network's texts have {width}"),
            &text.shape,
        )?;
        let mut tensors = vec![Input::floats("sample", sample), Input::floats("timestep", timestep), Input::floats("encoder_hidden_states", text)];
        let added = config.addition_embed_type.is_some();
        if added {
            let (embeds, ids) = (need_rank::<2>(inputs, "text_embeds")?, need_rank::<2>(inputs, "time_ids")?);
            let (all, of_one) =
                (config.projection_class_embeddings_input_dim.unwrap_or_default(), config.addition_time_embed_dim.unwrap_or_default());
            expect("text_embeds", embeds.shape[0] == batch && embeds.shape[1] <= all, &format!("[{batch},P] with P at most {all}"), &embeds.shape)?;
            let count = (all - embeds.shape[1]) / of_one.max(1);
            let fits = ids.shape == [batch, count] && embeds.shape[1] + count * of_one == all;
            let sum = format!("[{batch},{count}], since {} features of text_embeds and {of_one} of each id must be {all}", embeds.shape[1]);
            expect("time_ids", fits, &sum, &ids.shape)?;
            tensors.push(Input::floats("text_embeds", embeds));
            tensors.push(Input::floats("time_ids", ids));
        }
        self.evaluate(&net, &tensors, device, |net, source| {
            let (sample, timestep, text) = (source.float("sample"), source.float("timestep"), source.float("encoder_hidden_states"));
            let added = added.then(|| AddedConditions { text_embeds: source.float("text_embeds"), time_ids: source.float("time_ids") });
            let out = net.forward(sample, timestep, text, added);
            source.output("sample", "out_sample", out);
        })
    }

    fn vae(&self, pipeline: &Pipeline, inputs: &Tensors, device: &Device) -> Result<Tensors, Failure> {
        let config = pipeline.vae_config()?;
        let net: AutoencoderKl = load(pipeline, Part::Vae, config.init(device))?;
        if self.component == "vae_encoder" {
            let sample = need_rank::<4>(inputs, "sample")?;
            expect("sample", sample.shape[1] == config.in_channels, &format!("[B,{},H,W]", config.in_channels), &sample.shape)?;
            let least = config.downscale();
            expect("sample", sample.shape[2].min(sample.shape[3]) >= least, &format!("at least {least} rows and columns"), &sample.shape)?;
            self.halves("sample", sample, config.block_out_channels.len())?;
            return self.evaluate(&net, &[Input::floats("sample", sample)], device, |net, source| {
                let distribution = net.encode(source.float("sample"));
                source.output("mean", "mean", distribution.mean);
                source.output("logvar", "logvar", distribution.logvar);
            });
        }
        let latents = need_rank::<4>(inputs, "latents")?;
        expect("latents", latents.shape[1] == config.latent_channels, &format!("[B,{},H,W]", config.latent_channels), &latents.shape)?;
        self.evaluate(&net, &[Input::floats("latents", latents)], device, |net, source| {
            let out = net.decode(source.float("latents"));
            source.output("sample", "sample", out);
        })
    }

    fn text_encoder(&self, pipeline: &Pipeline, part: Part, inputs: &Tensors, device: &Device) -> Result<Tensors, Failure> {
        let config = pipeline.text_config(part)?;
        let net: ClipTextModel = load(pipeline, part, config.init(device))?;
        let ids = need_rank::<2>(inputs, "input_ids")?;
        expect(
            "input_ids",
            ids.shape[1] <= config.max_position_embeddings,
            &format!("[B,L] with L at most {}", config.max_position_embeddings),
            &ids.shape,
        )?;
        whole("input_ids", ids, Some(config.vocab_size))?;
        let layers = config.num_hidden_layers as i64 + 1;
        let hidden = match self.hidden_state {
            None => None,
            Some(layer) if (-layers..layers).contains(&layer) => Some((layer, layer.rem_euclid(layers) as usize)),
            Some(layer) => {
                return Err(Failure::new(Exit::Usage, format!("--hidden-state {layer}: this model has states {} to {}", -layers, layers - 1)));
            }
        };
        let hidden_name = hidden.map(|(layer, _)| format!("hidden_states.{layer}")).unwrap_or_default();
        let mut outputs = self.evaluate(&net, &[Input::ids("input_ids", ids)], device, |net, source| {
            let out = net.forward(source.ids("input_ids"));
            source.output("last_hidden_state", "last_hidden_state", out.last_hidden_state);
            if let Some((_, index)) = hidden {
                source.output(&hidden_name, &hidden_name, out.hidden_states[index].clone());
            }
        })?;
        // Pooling looks at the ids: it takes one row and, where the model projects, multiplies it once.
        let last = &outputs["last_hidden_state"];
        let pooled = net.pool(float(last, device), ints(ids, device));
        let projected = net.project(pooled.clone());
        outputs.insert("pooler_output".into(), to_host(pooled));
        if let Some(projected) = projected {
            outputs.insert("text_embeds".into(), to_host(projected));
        }
        Ok(outputs)
    }

    /// Refuses sizes that the levels cannot halve evenly, which programs require; burn rounds.
    fn halves(&self, name: &str, given: &HostTensor, levels: usize) -> Result<(), Failure> {
        let step = 1usize << levels.saturating_sub(1).min(16);
        let fits = self.device == ComponentDevice::Burn || given.shape[2..].iter().all(|length| length.is_multiple_of(step));
        expect(name, fits, &format!("rows and columns that are multiples of {step} (--device burn takes others)"), &given.shape)
    }

    /// Runs `forward` on burn, or captures it for these shapes, compiles it and runs the program.
    fn evaluate<M: Module>(
        &self,
        net: &M,
        tensors: &[Input<'_>],
        device: &Device,
        forward: impl FnOnce(&M, &mut Source<'_>),
    ) -> Result<Tensors, Failure> {
        let Some(backend) = self.backend() else {
            let mut source = Source::Direct { tensors, device, outputs: BTreeMap::new() };
            forward(net, &mut source);
            let Source::Direct { outputs, .. } = source else { return Err(Failure::new(Exit::Failed, "the source changed")) };
            return Ok(outputs);
        };
        let names = Names::explicit(weights::parameters(net).into_iter().map(|parameter| (parameter.id, parameter.name)));
        let mut renamed = BTreeMap::new();
        let compiled: Compiled = compile(&self.component, net, &names, &Options::default(), |net, ports| {
            let mut source = Source::Captured { tensors, ports, renamed: &mut renamed };
            forward(net, &mut source);
        })
        .map_err(|error| Failure::new(Exit::Input, format!("compiling {}: {error}", self.component)))?;
        let outputs = run_program(&compiled.program, &|name| compiled.weight(name), backend, tensors)?;
        Ok(outputs.into_iter().map(|(port, tensor)| (renamed.get(&port).cloned().unwrap_or(port), tensor)).collect())
    }
}

/// Loads the weights of a component.
fn load<M: Module>(pipeline: &Pipeline, part: Part, net: M) -> Result<M, Failure> {
    weights::load_map(net, pipeline.weights(part)?).map_err(|error| Failure::new(Exit::Input, error.to_string()))
}

/// Runs a program on a backend.
fn run_program<'w>(
    program: &Program,
    weights: &dyn Fn(&str) -> Option<onestep_program::WeightView<'w>>,
    backend: Backend,
    tensors: &[Input<'_>],
) -> Result<Tensors, Failure> {
    let ids: Vec<Vec<i32>> = tensors.iter().map(|input| input.tensor.data.iter().map(|&id| id as i32).collect()).collect();
    let inputs: Vec<(&str, TensorRef<'_>)> = tensors
        .iter()
        .zip(&ids)
        .map(|(input, ids)| (input.name, if input.is_ids { TensorRef::I32(ids) } else { TensorRef::F32(&input.tensor.data) }))
        .collect();
    let outputs = pollster::block_on(onestep::run_program(program.clone(), weights, backend, &inputs))?;
    let shapes: BTreeMap<&str, &Vec<usize>> = program.outputs.iter().map(|port| (port.name.as_str(), &program.value(port.value).shape)).collect();
    Ok(outputs
        .into_iter()
        .map(|(name, data)| (name.clone(), HostTensor { shape: shapes.get(name.as_str()).map(|shape| (*shape).clone()).unwrap_or_default(), data }))
        .collect())
}
