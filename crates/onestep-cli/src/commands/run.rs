//! `onestep run`: one component on given tensors, for debugging and for comparison with other systems.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep::Backend;
use onestep_compile::{Compiled, Names, Options, Ports, compile};
use onestep_nets::{
    AddedConditions, AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, UNet2DConditionConfig, UNet2DConditionModel, config_object,
    weights::{self, Shard},
};
use onestep_program::{DType, ElementType, Op, Program, TensorFile, TensorRef, ValueId, limits, manifest, printable};
use onestep_store::{FileDestination, FileFormat};
use onestep_train::{pipeline_folder, store};

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
        let destination = FileDestination::acquire(&self.out, FileFormat::SAFETENSORS, &[&self.inputs, &self.model])?;
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
            if value.dtype == DType::I32 {
                whole(&port.name, given, rows(program, port.value))?;
            }
            tensors.push((port.name.as_str(), given, value.dtype == DType::I32));
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
        self.halves("sample", sample, config.block_out_channels.len())?;
        expect("timestep", [1, batch].contains(&timestep.shape[0]), &format!("[1] or [{batch}], as sample has {batch}"), &timestep.shape)?;
        let widths = config.cross_attention_dim.expand(config.block_out_channels.len()).unwrap_or_default();
        let width = widths.first().copied().unwrap_or_default();
        if widths.iter().any(|other| *other != width) {
            let message = format!("cross_attention_dim is {widths:?}: levels that take texts of different widths cannot be evaluated here");
            return Err(Failure::new(Exit::Input, format!("{}: {message}", folder.join("config.json").display())));
        }
        let fits = text.shape[0] == batch && text.shape[2] == width;
        expect(
            "encoder_hidden_states",
            fits,
            &format!("[{batch},L,{width}], as sample has {batch} and the network's texts have {width}"),
            &text.shape,
        )?;
        let mut tensors = vec![("sample", sample, false), ("timestep", timestep, false), ("encoder_hidden_states", text, false)];
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
            tensors.push(("text_embeds", embeds, false));
            tensors.push(("time_ids", ids, false));
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
            let least = config.downscale();
            expect("sample", sample.shape[2].min(sample.shape[3]) >= least, &format!("at least {least} rows and columns"), &sample.shape)?;
            self.halves("sample", sample, config.block_out_channels.len())?;
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

    /// Programs halve an image evenly at each of so many levels but the last; burn itself rounds.
    fn halves(&self, name: &str, given: &Given, levels: usize) -> Result<(), Failure> {
        let step = 1usize << levels.saturating_sub(1).min(16);
        let fits = self.device == RunDevice::Burn || given.shape[2..].iter().all(|length| length.is_multiple_of(step));
        expect(name, fits, &format!("rows and columns that are multiples of {step} (--device burn takes others)"), &given.shape)
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
        let names = Names::explicit(weights::parameters(net).into_iter().map(|parameter| (parameter.id, parameter.name)));
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
    program: &Program,
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
        let there = if there.is_empty() { "none at all".into() } else { format!("only {}", there.join(", ")) };
        Failure::new(Exit::Input, printable(&format!("the inputs have no tensor {name:?}, {there}")))
    })
}

/// Refuses ids that are not whole numbers below `count`; without a count those that are no i32.
fn whole(name: &str, given: &Given, count: Option<usize>) -> Result<(), Failure> {
    // 2^31 − 128 is the largest f32 below 2^31.
    let (last, told) = match count {
        Some(count) => (count as f32 - 1.0, format!("from 0 to {}", count.saturating_sub(1))),
        None => (i32::MAX as f32 - 128.0, "from 0 to below 2^31".into()),
    };
    match given.data.iter().position(|id| !(0.0..=last).contains(id) || id.fract() != 0.0) {
        Some(at) => Err(Failure::new(Exit::Input, format!("input {name}: expected whole numbers {told}, found {} at element {at}", given.data[at]))),
        None => Ok(()),
    }
}

/// Rows of the smallest table that a program looks these ids up in.
fn rows(program: &Program, ids: ValueId) -> Option<usize> {
    let lookups = program.nodes.iter().filter(|node| matches!(node.op, Op::Embedding));
    lookups.filter(|node| node.inputs.get(1) == Some(&ids)).filter_map(|node| program.value(*node.inputs.first()?).shape.first().copied()).min()
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
    let refuse = |reason: String| Failure::new(Exit::Input, printable(&format!("{}: {reason}", path.display())));
    let text =
        String::from_utf8(onestep_store::read_at_most(&path, limits::CONFIG_BYTES.max)?).map_err(|_| refuse("the text is not UTF-8".into()))?;
    parse(&text).map_err(|error| refuse(error.to_string()))
}

/// Loads the weights beside a configuration: one file, or the shards that an index lists.
fn load<M: Module>(folder: &Path, net: M) -> Result<M, Failure> {
    const NAMES: [&str; 2] = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
    let whole = NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists());
    let indexed = NAMES.iter().map(|name| folder.join(format!("{name}.index.json"))).find(|path| path.exists());
    let files = match (whole, indexed) {
        (Some(path), _) => BTreeMap::from([(path.display().to_string(), onestep_store::read(&path)?)]),
        (None, Some(index)) => shards(folder, &index)?,
        (None, None) => {
            let others = pipeline_folder::alike(&folder.join(NAMES[0]));
            let others = if others.is_empty() { String::new() } else { format!(", only {}", others.join(", ")) };
            return Err(Failure::new(Exit::Input, format!("{} has no {} (nor an index of shards){others}", folder.display(), NAMES.join(" or "))));
        }
    };
    let shards: Vec<Shard<'_>> = files.iter().map(|(name, bytes)| Shard::new(name, bytes)).collect();
    weights::load(net, &shards).map_err(|error| Failure::new(Exit::Input, error.to_string()))
}

/// The files of `…index.json` by path, each with just the tensors that the index says.
fn shards(folder: &Path, index: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let refuse = |reason: String| Failure::new(Exit::Input, printable(&format!("{}: {reason}", index.display())));
    let text =
        String::from_utf8(onestep_store::read_at_most(index, limits::CONFIG_BYTES.max)?).map_err(|_| refuse("the text is not UTF-8".into()))?;
    let json = config_object("the index of shards", &text).map_err(|error| refuse(error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object()).ok_or_else(|| refuse("expected a weight_map of tensors and files".into()))?;
    if map.is_empty() {
        return Err(refuse("weight_map is empty, expected the file of each tensor".into()));
    }
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (tensor, file) in map {
        match file.as_str().filter(|name| is_plain(name)) {
            Some(name) => named.entry(name).or_default().insert(tensor),
            None => return Err(refuse(format!("weight_map has {tensor:?}: {file}; expected the name of a file beside the index"))),
        };
    }
    if let Some((name, tensors)) = named.iter().find(|(name, _)| !folder.join(name).exists()) {
        let first = tensors.first().copied().unwrap_or_default();
        return Err(refuse(format!("weight_map has {first:?}: {name:?}, and there is no such file")));
    }
    let mut files = BTreeMap::new();
    for (name, tensors) in named {
        let path = folder.join(name);
        let (place, bytes) = (path.display().to_string(), onestep_store::read(&path)?);
        let file = TensorFile::read(&bytes, &place).map_err(|error| Failure::new(Exit::Input, error.to_string()))?;
        let there: BTreeSet<&str> = file.header().iter().map(|(name, _)| name).collect();
        if let Some(missing) = tensors.difference(&there).next() {
            return Err(refuse(format!("weight_map has {missing:?}: {name:?}, and that file has no such tensor")));
        }
        if let Some(surplus) = there.difference(&tensors).next() {
            let said = map.get(*surplus).map_or_else(|| "does not name it".into(), |other| format!("has it in {other}"));
            return Err(refuse(format!("{name} has the tensor {surplus:?}, and weight_map {said}")));
        }
        files.insert(place, bytes);
    }
    Ok(files)
}

/// Whether a name is that of a file in the same folder, on every system.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    one && !name.starts_with('.') && !name.chars().any(|character| character.is_control() || "/\\:".contains(character))
}

pub(super) fn read_inputs(path: &Path) -> Result<Tensors, Failure> {
    let refuse = |error: onestep_program::BundleError| Failure::new(Exit::Input, error.to_string());
    let bytes = onestep_store::read(path)?;
    let file = TensorFile::read(&bytes, &path.display().to_string()).map_err(refuse)?;
    let read = |(name, entry): (&str, &onestep_program::TensorEntry)| {
        let data = file.floats(name, ElementType::SUPPORTED)?;
        Ok((name.to_owned(), Given { shape: entry.shape.clone(), data }))
    };
    file.header().iter().map(read).collect::<Result<_, _>>().map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_are_those_of_files_beside_the_index() {
        for name in ["model-00001-of-00002.safetensors", "a.safetensors"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a/", "/etc/passwd", "../a", "a\\b", "C:a", "a\0b", "./a", "a\nb"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    #[test]
    fn ids_are_whole_numbers_of_the_table() {
        let ids = |data: Vec<f32>| Given { shape: vec![data.len()], data };
        assert!(whole("ids", &ids(vec![0.0, 82.0]), Some(83)).is_ok() && whole("ids", &ids(vec![2e9]), None).is_ok());
        for (bad, count) in [(-1.0, Some(83)), (83.0, Some(83)), (0.5, Some(83)), (f32::NAN, Some(83)), (2.2e9, None), (f32::INFINITY, None)] {
            let told = whole("ids", &ids(vec![0.0, bad]), count).unwrap_err();
            assert!(told.message().contains("input ids") && told.message().contains(&format!("{bad} at element 1")), "{}", told.message());
        }
    }
}
