//! `onestep run`: one component on given tensors, for debugging and for comparison with other systems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep::Backend;
use onestep_compile::{Compiled, Names, Options, Ports, compile};
use onestep_nets::{
    AddedConditions, AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, UNet2DConditionConfig, UNet2DConditionModel, weights,
};
use onestep_program::{TensorRef, manifest};
use onestep_store::{FileDestination, FileFormat};
use onestep_train::store;
use safetensors::{Dtype, SafeTensors};

use crate::arguments::Shared;
use crate::exit::{Exit, Failure};
use crate::{bundle_folder, output};

/// Evaluate one component on given tensors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Components of a pipeline folder, and their tensors:\n  \
    unet          sample [B,C,H,W], timestep [B], encoder_hidden_states [B,L,D] (text_embeds, time_ids) -> sample\n  \
    vae_encoder   sample [B,C,H,W] -> mean, logvar\n  \
    vae_decoder   latents [B,C,H,W] -> sample\n  \
    text_encoder  input_ids [B,L] -> last_hidden_state, pooler_output (text_embeds)\n\
    Components of a bundle: as `onestep inspect` names them.\n\n\
    Example:\n  onestep run unet --model runs/teacher/model --inputs in.safetensors --out out.safetensors --device webgpu")]
pub struct Run {
    /// What to evaluate
    component: String,
    /// A pipeline folder, one component's own folder (config.json beside its weights), or a bundle
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The tensors it takes
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// Where the tensors it gives go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Our kernels on a GPU, our programs on the processor, or burn itself
    #[arg(long, value_enum, default_value_t)]
    device: RunDevice,
    /// Also give a hidden state of the text encoder: 0 is the embedding, -1 the last layer's, -2 the one before
    #[arg(long, value_name = "LAYER", allow_negative_numbers = true)]
    hidden_state: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum RunDevice {
    /// The programs on the processor
    #[default]
    Cpu,
    /// Our kernels through wgpu
    Webgpu,
    /// The networks on burn's CPU device
    Burn,
}

/// A tensor of the input file.
#[derive(Clone, Debug)]
pub(super) struct Given {
    shape: Vec<usize>,
    /// Ids stay exact below 2^24.
    pub(super) data: Vec<f32>,
}

pub(super) type Tensors = BTreeMap<String, Given>;

impl Run {
    /// Evaluates; prints the path of the result.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        let destination = FileDestination::claim(&self.out, FileFormat::SAFETENSORS, &[&self.inputs, &self.model])?;
        let inputs = read_inputs(&self.inputs)?;
        let outputs = if self.model.join(manifest::FILE_NAME).is_file() { self.of_bundle(&inputs)? } else { self.of_folder(&inputs)? };
        let tensors: Vec<_> = outputs.into_iter().map(|(name, given)| (name, given.shape, given.data)).collect();
        destination.write(&store::tensor_bytes(&tensors, &[]))?;
        if !shared.quiet {
            for (name, shape, _) in &tensors {
                output::message(&format!("{name} {shape:?}"));
            }
        }
        output::path(shared, &self.out)
    }

    fn backend(&self) -> Option<Backend> {
        match self.device {
            RunDevice::Cpu => Some(Backend::Cpu),
            RunDevice::Webgpu => Some(Backend::WebGpu),
            RunDevice::Burn => None,
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
            tensors.push((port.name.as_str(), given, value.dtype == onestep_program::DType::I32));
        }
        run(program, &|name| bundle.weight(name), backend, &tensors)
    }

    fn of_folder(&self, inputs: &Tensors) -> Result<Tensors, Failure> {
        let device = Device::flex();
        match self.component.as_str() {
            "unet" => self.unet(inputs, &device),
            "vae_encoder" | "vae_decoder" => self.vae(inputs, &device),
            "text_encoder" => self.text_encoder(inputs, &device),
            other => Err(Failure::new(
                Exit::Usage,
                format!("no component {other:?} in a pipeline folder; there are unet, vae_encoder, vae_decoder and text_encoder"),
            )),
        }
    }

    fn unet(&self, inputs: &Tensors, device: &Device) -> Result<Tensors, Failure> {
        let folder = component_folder(&self.model, "unet")?;
        let config = config(&folder, UNet2DConditionConfig::from_json)?;
        let net: UNet2DConditionModel = load(&folder, config.init(device))?;
        let (sample, text) = (need_rank::<4>(inputs, "sample")?, need_rank::<3>(inputs, "encoder_hidden_states")?);
        let batch = sample.shape[0];
        let timestep = need_rank::<1>(inputs, "timestep")?;
        expect("sample", sample.shape[1] == config.in_channels, &format!("[B,{},H,W]", config.in_channels), &sample.shape)?;
        expect("timestep", [1, batch].contains(&timestep.shape[0]), &format!("[{batch}]"), &timestep.shape)?;
        expect("encoder_hidden_states", text.shape[0] == batch, &format!("[{batch},L,D]"), &text.shape)?;
        let mut tensors = vec![("sample", sample, false), ("timestep", timestep, false), ("encoder_hidden_states", text, false)];
        let added = config.addition_embed_type.is_some();
        if added {
            tensors.push(("text_embeds", need_rank::<2>(inputs, "text_embeds")?, false));
            tensors.push(("time_ids", need_rank::<2>(inputs, "time_ids")?, false));
        }
        self.evaluate(&net, &tensors, device, |net, source| {
            let (sample, timestep, text) = (source.float("sample"), source.float("timestep"), source.float("encoder_hidden_states"));
            let added = added.then(|| AddedConditions { text_embeds: source.float("text_embeds"), time_ids: source.float("time_ids") });
            let out = net.forward(sample, timestep, text, added);
            source.output("sample", "out_sample", out);
        })
    }

    fn vae(&self, inputs: &Tensors, device: &Device) -> Result<Tensors, Failure> {
        let folder = component_folder(&self.model, "vae")?;
        let config = config(&folder, AutoencoderKlConfig::from_json)?;
        let net: AutoencoderKl = load(&folder, config.init(device))?;
        if self.component == "vae_encoder" {
            let sample = need_rank::<4>(inputs, "sample")?;
            expect("sample", sample.shape[1] == config.in_channels, &format!("[B,{},H,W]", config.in_channels), &sample.shape)?;
            return self.evaluate(&net, &[("sample", sample, false)], device, |net, source| {
                let distribution = net.encode(source.float("sample"));
                source.output("mean", "mean", distribution.mean);
                source.output("logvar", "logvar", distribution.logvar);
            });
        }
        let latents = need_rank::<4>(inputs, "latents")?;
        expect("latents", latents.shape[1] == config.latent_channels, &format!("[B,{},H,W]", config.latent_channels), &latents.shape)?;
        self.evaluate(&net, &[("latents", latents, false)], device, |net, source| {
            let out = net.decode(source.float("latents"));
            source.output("sample", "sample", out);
        })
    }

    fn text_encoder(&self, inputs: &Tensors, device: &Device) -> Result<Tensors, Failure> {
        let folder = component_folder(&self.model, "text_encoder")?;
        let config = config(&folder, ClipTextConfig::from_json)?;
        let net: ClipTextModel = load(&folder, config.init(device))?;
        let ids = need_rank::<2>(inputs, "input_ids")?;
        expect(
            "input_ids",
            ids.shape[1] <= config.max_position_embeddings,
            &format!("[B,L] with L at most {}", config.max_position_embeddings),
            &ids.shape,
        )?;
        if let Some(id) = ids.data.iter().find(|&&id| id < 0.0 || id >= config.vocab_size as f32 || id.fract() != 0.0) {
            return Err(Failure::new(Exit::Input, format!("input_ids holds {id}, expected whole numbers from 0 to {}", config.vocab_size - 1)));
        }
        let layers = config.num_hidden_layers as i64 + 1;
        let hidden = match self.hidden_state {
            None => None,
            Some(layer) if (-layers..layers).contains(&layer) => Some((layer, layer.rem_euclid(layers) as usize)),
            Some(layer) => {
                return Err(Failure::new(Exit::Usage, format!("--hidden-state {layer}: this model has states {} to {}", -layers, layers - 1)));
            }
        };
        let hidden_name = hidden.map(|(layer, _)| format!("hidden_states.{layer}")).unwrap_or_default();
        let mut outputs = self.evaluate(&net, &[("input_ids", ids, true)], device, |net, source| {
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
        outputs.insert("pooler_output".into(), given(pooled));
        if let Some(projected) = projected {
            outputs.insert("text_embeds".into(), given(projected));
        }
        Ok(outputs)
    }

    /// Runs `forward` on burn, or captures it for these shapes, compiles it and runs the program.
    fn evaluate<M: Module>(
        &self,
        net: &M,
        tensors: &[(&str, &Given, bool)],
        device: &Device,
        forward: impl FnOnce(&M, &mut Source<'_>),
    ) -> Result<Tensors, Failure> {
        let Some(backend) = self.backend() else {
            let mut source = Source::Direct { tensors, device, outputs: BTreeMap::new() };
            forward(net, &mut source);
            let Source::Direct { outputs, .. } = source else { return Err(Failure::new(Exit::Failed, "the source changed")) };
            return Ok(outputs);
        };
        let names = Names::given(weights::parameters(net).into_iter().map(|parameter| (parameter.id, parameter.name)));
        let mut renamed = BTreeMap::new();
        let compiled: Compiled = compile(&self.component, net, &names, &Options::default(), |net, ports| {
            let mut source = Source::Captured { tensors, ports, renamed: &mut renamed };
            forward(net, &mut source);
        })
        .map_err(|error| Failure::new(Exit::Input, format!("compiling {}: {error}", self.component)))?;
        let outputs = run(&compiled.program, &|name| compiled.weight(name), backend, tensors)?;
        Ok(outputs.into_iter().map(|(port, tensor)| (renamed.get(&port).cloned().unwrap_or(port), tensor)).collect())
    }
}

/// Where a forward pass takes its tensors from and puts its results: the same closure runs on burn and is captured.
enum Source<'a> {
    Direct { tensors: &'a [(&'a str, &'a Given, bool)], device: &'a Device, outputs: Tensors },
    Captured { tensors: &'a [(&'a str, &'a Given, bool)], ports: &'a mut Ports, renamed: &'a mut BTreeMap<String, String> },
}

impl Source<'_> {
    fn find<'t>(tensors: &'t [(&str, &Given, bool)], name: &str) -> &'t Given {
        #[allow(clippy::expect_used, reason = "the callers in this file list every tensor they take")]
        tensors.iter().find(|(other, _, _)| *other == name).map(|(_, given, _)| *given).expect("listed")
    }

    fn float<const D: usize>(&mut self, name: &str) -> Tensor<D> {
        match self {
            Source::Direct { tensors, device, .. } => float(Self::find(tensors, name), device),
            Source::Captured { tensors, ports, .. } => ports.float(name, dims(Self::find(tensors, name))),
        }
    }

    fn ids(&mut self, name: &str) -> Tensor<2, Int> {
        match self {
            Source::Direct { tensors, device, .. } => ints(Self::find(tensors, name), device),
            Source::Captured { tensors, ports, .. } => ports.ids(name, dims(Self::find(tensors, name))),
        }
    }

    /// `port` is the name within the program, where inputs and outputs must differ; `name` is what the user gets.
    fn output<const D: usize>(&mut self, name: &str, port: &str, value: Tensor<D>) {
        match self {
            Source::Direct { outputs, .. } => {
                outputs.insert(name.into(), given(value));
            }
            Source::Captured { ports, renamed, .. } => {
                renamed.insert(port.into(), name.into());
                ports.output(port, value);
            }
        }
    }
}

fn dims<const D: usize>(given: &Given) -> [usize; D] {
    std::array::from_fn(|axis| given.shape[axis])
}

fn float<const D: usize>(given: &Given, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(given.data.clone(), dims::<D>(given)), device)
}

fn ints(given: &Given, device: &Device) -> Tensor<2, Int> {
    let data: Vec<i32> = given.data.iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(data, dims::<2>(given)), device)
}

fn given<const D: usize>(tensor: Tensor<D>) -> Given {
    Given { shape: tensor.dims().to_vec(), data: tensor.into_data().try_to_vec::<f32>().unwrap_or_default() }
}

/// Runs a program; the shapes of the results are the program's.
fn run<'w>(
    program: &onestep_program::Program,
    weights: &dyn Fn(&str) -> Option<onestep_program::WeightView<'w>>,
    backend: Backend,
    tensors: &[(&str, &Given, bool)],
) -> Result<Tensors, Failure> {
    let ids: Vec<Vec<i32>> = tensors.iter().map(|(_, given, _)| given.data.iter().map(|&id| id as i32).collect()).collect();
    let inputs: Vec<(&str, TensorRef<'_>)> = tensors
        .iter()
        .zip(&ids)
        .map(|((name, given, is_ids), ids)| (*name, if *is_ids { TensorRef::I32(ids) } else { TensorRef::F32(&given.data) }))
        .collect();
    let outputs = pollster::block_on(onestep::run_program(program.clone(), weights, backend, &inputs))?;
    let shapes: BTreeMap<&str, &Vec<usize>> = program.outputs.iter().map(|port| (port.name.as_str(), &program.value(port.value).shape)).collect();
    Ok(outputs
        .into_iter()
        .map(|(name, data)| (name.clone(), Given { shape: shapes.get(name.as_str()).map(|shape| (*shape).clone()).unwrap_or_default(), data }))
        .collect())
}

fn need<'t>(inputs: &'t Tensors, name: &str) -> Result<&'t Given, Failure> {
    inputs.get(name).ok_or_else(|| {
        let there: Vec<_> = inputs.keys().map(String::as_str).collect();
        Failure::new(Exit::Input, format!("the inputs have no tensor {name:?}, only {}", there.join(", ")))
    })
}

fn need_rank<'t, const D: usize>(inputs: &'t Tensors, name: &str) -> Result<&'t Given, Failure> {
    let given = need(inputs, name)?;
    expect(name, given.shape.len() == D && !given.shape.contains(&0), &format!("{D} axes, none of them empty"), &given.shape)?;
    Ok(given)
}

fn expect(name: &str, fits: bool, expected: &str, found: &[usize]) -> Result<(), Failure> {
    if fits { Ok(()) } else { Err(shape_error(name, expected, found)) }
}

fn shape_error(name: &str, expected: &str, found: &[usize]) -> Failure {
    Failure::new(Exit::Input, format!("input {name}: expected {expected}, found {found:?}"))
}

/// `DIR/NAME` of a pipeline folder, or DIR itself where it is that component's own folder.
fn component_folder(model: &Path, name: &str) -> Result<PathBuf, Failure> {
    let inside = model.join(name);
    for candidate in [&inside, &model.to_owned()] {
        if candidate.join("config.json").is_file() {
            return Ok(candidate.clone());
        }
    }
    Err(Failure::new(Exit::Input, format!("{} has neither {name}/config.json nor config.json", model.display())))
}

fn config<C>(folder: &Path, parse: impl Fn(&str) -> Result<C, onestep_nets::ConfigError>) -> Result<C, Failure> {
    let path = folder.join("config.json");
    let text = String::from_utf8(store::read(&path)?).map_err(|_| Failure::new(Exit::Input, format!("{} is not UTF-8", path.display())))?;
    parse(&text).map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", path.display())))
}

/// Loads the weights beside a configuration: one file, or the shards that an index lists.
fn load<M: Module>(folder: &Path, net: M) -> Result<M, Failure> {
    const NAMES: [&str; 2] = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
    let whole = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let indexed = NAMES.iter().map(|name| folder.join(format!("{name}.index.json"))).find(|path| path.is_file());
    let files = match (whole, indexed) {
        (Some(path), _) => vec![path],
        (None, Some(index)) => shards(folder, &index)?,
        (None, None) => {
            return Err(Failure::new(Exit::Input, format!("{} has no {} (nor an index of shards)", folder.display(), NAMES.join(" or "))));
        }
    };
    let bytes = files.iter().map(|path| store::read(path)).collect::<Result<Vec<_>, _>>()?;
    let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    weights::load(net, &slices).map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", folder.display())))
}

/// The files of `…index.json`: names without a path, each once.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |reason: String| Failure::new(Exit::Input, format!("{}: {reason}", index.display()));
    let json: serde_json::Value = serde_json::from_slice(&store::read(index)?).map_err(|error| refuse(error.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| refuse("expected a weight_map".into()))?;
    let mut names: Vec<&str> = map.values().filter_map(|name| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.iter().any(|name| name.contains(['/', '\\']) || name.starts_with('.')) {
        return Err(refuse("names files that are not beside it".into()));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

pub(super) fn read_inputs(path: &Path) -> Result<Tensors, Failure> {
    let bytes = store::read(path)?;
    let refuse = |reason: String| Failure::new(Exit::Input, format!("{}: {reason}", path.display()));
    let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(format!("not a valid safetensors file ({error})")))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let raw = view.data();
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => raw.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F64 => raw.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Dtype::F16 => raw.as_chunks::<2>().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => raw.as_chunks::<2>().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            Dtype::I32 => raw.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
            Dtype::I64 => raw.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b) as f32).collect(),
            other => return Err(refuse(format!("tensor {name} is {other:?}; expected f32, f64, f16, bf16, i32 or i64"))),
        };
        tensors.insert(name.to_owned(), Given { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}
