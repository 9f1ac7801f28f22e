//! `debug distance`: LatentLPIPS or E-LatentLPIPS between given latents.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::FEATURES;
use onestep_store::{FileDestination, FileFormat};

use super::{latent_augmentation::LatentAugmentationOptions, metric_file::Metric};
use crate::{
    error::{TrainError, TrainErrorKind, check_options},
    observer::Observer,
    store,
};

/// Options of `debug distance`.
#[derive(Clone, Debug)]
pub struct DistanceOptions {
    /// The metric's folder or published file.
    pub weights: PathBuf,
    /// Encoder of a published metric, if its file name does not tell.
    pub encoder: Option<String>,
    /// One file with the tensors `in0` and `in1`, or two folders with files of the same names that have one tensor each.
    pub inputs: Vec<PathBuf>,
    /// The safetensors file of the distances.
    pub out: PathBuf,
    /// Whether the latents are raw encoder outputs, which have to be scaled first.
    pub raw_latents: bool,
    /// Augmentations over which E-LatentLPIPS averages; 0 for LatentLPIPS.
    pub ensemble: usize,
    /// The distribution of the augmentations.
    pub augmentation: LatentAugmentationOptions,
    /// Seed of the augmentations.
    pub seed: u64,
}

/// Distances of N pairs.
#[derive(Clone, Debug)]
pub struct Distances {
    /// File name or number of each pair.
    pub names: Vec<String>,
    /// The distance of each pair: [N].
    pub distance: Vec<f32>,
    /// The distance of each pair by layer: [N,5], flat.
    pub per_layer: Vec<f32>,
}

/// Most augmentations to average over.
const MOST_SAMPLES: usize = 100_000;
/// Pairs per forward pass.
const CHUNK: usize = 8;

struct Pair {
    name: String,
    shape: [usize; 3],
    latents: [Vec<f32>; 2],
}

/// Measures the distances, and writes the tensors `distance` [N] and `per_layer` [N,5].
///
/// # Errors
/// A metric or latents that cannot be used, storage, interruption.
pub fn measure(options: &DistanceOptions, device: &Device, observer: &mut dyn Observer) -> Result<Distances, TrainError> {
    options.augmentation.check()?;
    check_options([(format!("--ensemble {}", options.ensemble), options.ensemble <= MOST_SAMPLES, "at most 100000")])?;
    let mut sources: Vec<&Path> = vec![&options.weights];
    sources.extend(options.inputs.iter().map(PathBuf::as_path));
    let destination = FileDestination::acquire(&options.out, FileFormat::SAFETENSORS, &sources)?;
    let metric = Metric::open(&options.weights, options.encoder.as_deref(), device)?;
    let pairs = match options.inputs.as_slice() {
        [file] if file.is_file() => pairs_of_file(file)?,
        [a, b] if a.is_dir() && b.is_dir() => pairs_of_folders(a, b)?,
        [missing] if !missing.exists() => return Err(TrainError::input(format!("{}: there is no such file", missing.display()))),
        _ => {
            let message = "give one file with the tensors in0 and in1, or two folders of latents: --inputs A --inputs B";
            return Err(TrainError::new(TrainErrorKind::Usage, message));
        }
    };
    let [first, ..] = pairs.as_slice() else { return Err(TrainError::input("there are no latents to measure")) };
    let shape = first.shape;
    if let Some(other) = pairs.iter().find(|pair| pair.shape != shape) {
        return Err(TrainError::input(format!("{} has latents of {:?}, those before have {shape:?}", other.name, other.shape)));
    }
    if shape[1] < 2 || shape[2] < 2 {
        return Err(TrainError::input(format!("latents of {}x{} are too small to compare", shape[1], shape[2])));
    }
    let scaled = |pair: &[Vec<f32>]| -> Vec<f32> {
        let scaling = metric.config.scaling;
        let values = pair.iter().flatten().copied();
        if options.raw_latents {
            values.map(|value| ((f64::from(value) - scaling.shift) * scaling.factor) as f32).collect()
        } else {
            values.collect()
        }
    };
    let all: Vec<f32> = pairs.iter().flat_map(|pair| scaled(&pair.latents)).collect();
    metric.accept(&all, shape[0], &options.inputs[0].display().to_string())?;

    observer.begin("measuring", pairs.len() as u64, 0);
    let mut distances = Distances { names: Vec::new(), distance: Vec::new(), per_layer: Vec::new() };
    for (chunk, pairs) in pairs.chunks(CHUNK).enumerate() {
        let side = |which: usize| {
            let data = pairs.iter().flat_map(|pair| scaled(&pair.latents[which..=which])).collect();
            Tensor::<4>::from_data(TensorData::new(data, [pairs.len(), shape[0], shape[1], shape[2]]), device)
        };
        let (x0, x1) = (side(0), side(1));
        let mut per_layer = Tensor::<2>::zeros([pairs.len(), FEATURES], device);
        for sample in 0..options.ensemble.max(1) {
            let (x0, x1) = if options.ensemble == 0 {
                (x0.clone(), x1.clone())
            } else {
                let index = (chunk * options.ensemble + sample) as u64;
                let augmentation = options.augmentation.sample(options.seed, index, pairs.len(), [shape[1], shape[2]], device);
                (augmentation.apply(x0.clone()), augmentation.apply(x1.clone()))
            };
            per_layer = per_layer + metric.net.per_layer(x0, x1).div_scalar(options.ensemble.max(1) as f64);
        }
        let total = per_layer.clone().sum_dim(1);
        distances.per_layer.extend(per_layer.to_data().try_to_vec::<f32>().unwrap_or_default());
        distances.distance.extend(total.to_data().try_to_vec::<f32>().unwrap_or_default());
        distances.names.extend(pairs.iter().map(|pair| pair.name.clone()));
        observer.step(distances.names.len() as u64, "");
        if observer.stopped() {
            return Err(TrainError::new(TrainErrorKind::Interrupted, "stopped; nothing was written"));
        }
    }
    let count = distances.names.len();
    let tensors = [
        ("distance".to_owned(), vec![count], distances.distance.clone()),
        ("per_layer".to_owned(), vec![count, FEATURES], distances.per_layer.clone()),
    ];
    destination.write(&store::tensor_bytes(&tensors))?;
    Ok(distances)
}

/// `in0` and `in1`, [N,C,H,W] each.
fn pairs_of_file(path: &Path) -> Result<Vec<Pair>, TrainError> {
    let location = path.display().to_string();
    let mut tensors = store::read_tensors(&onestep_store::read(path)?, &location)?;
    let mut take = |name: &str| {
        tensors.remove(name).ok_or_else(|| TrainError::input(format!("{location} has no tensor {name}; expected in0 and in1, both [N,C,H,W] of f32")))
    };
    let ((shape, in0), (other, in1)) = (take("in0")?, take("in1")?);
    let &[count, channels, rows, columns] = shape.as_slice() else {
        return Err(TrainError::input(format!("{location}: in0 is {shape:?}, expected [N,C,H,W]")));
    };
    if shape != other {
        return Err(TrainError::input(format!("{location}: in0 is {shape:?} and in1 {other:?}; expected the same shape")));
    }
    for (name, values) in [("in0", &in0), ("in1", &in1)] {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(TrainError::input(format!("{location}: {name} holds {} (element {index}), which is no latent", values[index])));
        }
    }
    let elements = channels * rows * columns;
    let latent = |data: &[f32], index: usize| data[index * elements..][..elements].to_vec();
    Ok((0..count)
        .map(|index| Pair { name: index.to_string(), shape: [channels, rows, columns], latents: [latent(&in0, index), latent(&in1, index)] })
        .collect())
}

/// Files `NAME.safetensors` that both folders have, with one tensor [C,H,W] or [1,C,H,W] each.
fn pairs_of_folders(a: &Path, b: &Path) -> Result<Vec<Pair>, TrainError> {
    let names = |folder: &Path| -> Result<Vec<String>, TrainError> {
        let entries = fs::read_dir(folder).map_err(|error| TrainError::storage("listing", folder, &error))?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.ends_with(".safetensors")).collect();
        names.sort();
        Ok(names)
    };
    let (names, others) = (names(a)?, names(b)?);
    if names != others || names.is_empty() {
        let missing = names.iter().find(|name| !others.contains(name)).or_else(|| others.iter().find(|name| !names.contains(name)));
        let missing = missing.map_or_else(|| "no NAME.safetensors is in either".into(), |name| format!("{name} is in one of them only"));
        return Err(TrainError::input(format!("{} and {} are compared file by file, and {missing}", a.display(), b.display())));
    }
    names
        .into_iter()
        .map(|name| {
            let (first, second) = (read_latent(&a.join(&name))?, read_latent(&b.join(&name))?);
            if first.0 != second.0 {
                return Err(TrainError::input(format!("{name}: one latent is {:?}, the other {:?}", first.0, second.0)));
            }
            Ok(Pair { name, shape: first.0, latents: [first.1, second.1] })
        })
        .collect()
}

fn read_latent(path: &Path) -> Result<([usize; 3], Vec<f32>), TrainError> {
    let tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = store::read_tensors(&onestep_store::read(path)?, &path.display().to_string())?;
    let count = tensors.len();
    let mut tensors = tensors.into_values();
    match (count, tensors.next()) {
        (1, Some((shape, data))) => match shape.as_slice() {
            &[channels, rows, columns] | &[1, channels, rows, columns] => Ok(([channels, rows, columns], data)),
            _ => Err(TrainError::input(format!("{} holds a tensor of {shape:?}, expected [C,H,W]", path.display()))),
        },
        _ => Err(TrainError::input(format!("{} holds {count} tensors, expected one latent", path.display()))),
    }
}
