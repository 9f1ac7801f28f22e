//! `pairs`: the teacher's noise → latent pairs, drawn once and kept.
//!
//! Pair k has a seed and a prompt that follow from k alone, so a shard can be made again by itself:
//! `seed = base_seed + k`, and prompts run through the whole list in a new random order each round.
//!
//! ```text
//! index.json                          what made the set, the prompts, and every finished shard's hash
//! pairs-00000-of-00020.safetensors    latent [n,C,H,W] f32 · seed [n] i64 · prompt [n] i64 (row of the prompt list)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use onestep_noise::{Philox, Stream};
use onestep_program::{ElementType, TensorFile, limits};
use onestep_store::{
    Lock, RECORD_FILE, create_folder, is_marked, json_bytes, mark_folder, refuse_foreign, remove_leftovers, replace_file, replace_json,
};
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    observer::Observer,
    pipeline_folder::PipelineFolder,
    run_folder::{Entry, LOCK, model_of},
    sampler::{Sampler, encode_prompts, noises},
    store::{self, sha256},
    training_loop::check_elements,
};

/// Options of `pairs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// The image folder, for its prompts.
    pub data: PathBuf,
    /// Where the pairs go.
    pub out: PathBuf,
    /// Pairs in all.
    pub count: u64,
    /// Pairs per shard.
    pub shard: u64,
    /// Pairs drawn together.
    pub batch: usize,
    /// Steps of the ODE solver.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Seed of pair 0. Far from the small numbers that people choose, so that these stay unseen.
    pub base_seed: u64,
}

impl Default for PairsOptions {
    fn default() -> Self {
        Self {
            teacher: PathBuf::new(),
            data: PathBuf::new(),
            out: PathBuf::new(),
            count: 20_000,
            shard: 1000,
            batch: 32,
            steps: 50,
            guidance: 2.0,
            base_seed: 1 << 32,
        }
    }
}

/// `index.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairIndex {
    /// Format version.
    pub version: u32,
    /// Hash of the teacher's files.
    pub teacher: String,
    /// What made the pairs; `out`, `teacher` and `data` as given then.
    pub options: PairsOptions,
    /// Channels, rows, columns of noise and latent.
    pub shape: [usize; 3],
    /// The prompts that pairs refer to.
    pub prompts: Vec<String>,
    /// The name of the image that each prompt is a phrasing of.
    pub names: Vec<String>,
    /// SHA-256 of each finished shard, by number; empty where it is still to be made.
    pub shards: Vec<String>,
}

const INDEX: &str = "index.json";
/// What the folder is marked as.
const PAIR_SET: &str = "a pair set";
/// Room for ten million prompts.
const INDEX_BYTES: limits::Limit = limits::Limit { what: "bytes of the index of a pair set", max: 1 << 30 };

impl PairIndex {
    fn shard_name(&self, shard: usize) -> String {
        format!("pairs-{shard:05}-of-{:05}.safetensors", self.shards.len())
    }

    /// Seeds and prompt rows of one shard.
    fn plan(&self, shard: usize) -> (Vec<u64>, Vec<usize>) {
        let options = &self.options;
        let first = shard as u64 * options.shard;
        let range = first..(first + options.shard).min(options.count);
        let count = self.prompts.len() as u64;
        let (mut round, mut order) = (u64::MAX, Vec::new());
        let rows = range.clone().map(|pair| {
            if pair / count != round {
                round = pair / count;
                order = Philox::new(options.base_seed, Stream::Order, round).permutation(self.prompts.len());
            }
            order[(pair % count) as usize]
        });
        let rows = rows.collect();
        (range.map(|pair| options.base_seed + pair).collect(), rows)
    }
}

/// The numbers in the names of shards have five digits.
const MOST_SHARDS: u64 = 99_999;

/// Draws what is still missing of a pair set.
///
/// # Errors
/// Storage, a folder that holds other pairs, interruption (finished shards are kept).
pub fn make(options: &PairsOptions, entry: Entry, device: &Device, observer: &mut dyn Observer) -> Result<(), TrainError> {
    let one = |name: &str, value: u64| (format!("{name} {value}"), value > 0, "at least 1");
    check_options([one("--count", options.count), one("--shard", options.shard), one("--batch", options.batch as u64)])?;
    check_options([(format!("--guidance {}", options.guidance), options.guidance.is_finite(), "a number that is finite")])?;
    if options.count.div_ceil(options.shard) > MOST_SHARDS {
        let message =
            format!("--count {} in files of --shard {} are more than {MOST_SHARDS} files; choose a larger --shard", options.count, options.shard);
        return Err(TrainError::new(TrainErrorKind::Usage, message));
    }
    let room = options.base_seed.checked_add(options.count).is_some();
    check_options([(format!("--base-seed {}", options.base_seed), room, "a number with room for --count seeds above it")])?;
    let index_path = options.out.join(INDEX);
    let check = || if is_marked(&options.out, PAIR_SET) { Ok(()) } else { refuse_foreign(&options.out, "the pairs", &[LOCK, RECORD_FILE]) };
    check()?;
    let model = PipelineFolder::open(&model_of(&options.teacher)?)?;
    model.check()?;
    let (sizes, schedule) = (model.sizes()?, model.schedule()?);
    // No shard has more pairs than the set.
    let together = |option: &str, number: u64| check_elements(option, usize::try_from(number.min(options.count)).unwrap_or(usize::MAX), sizes.latent);
    together("--batch", options.batch as u64)?;
    together("--shard", options.shard)?;
    schedule.timesteps(options.steps).map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
    let images = ImageFolder::open_trained(&options.data, sizes.image)?;
    let phrasings = (0..images.len()).flat_map(|index| images.train_prompts(index).iter().map(move |prompt| (prompt, index)));
    // Images of one name share their prompts.
    let mut seen = BTreeSet::new();
    let (prompts, names) = phrasings
        .filter(|(prompt, _)| seen.insert(prompt.as_str()))
        .map(|(prompt, index)| (prompt.clone(), images.entries()[index].text.clone()))
        .unzip();
    let teacher = model.hash();
    let fresh = PairIndex {
        version: 1,
        teacher,
        options: options.clone(),
        shape: sizes.latent,
        prompts,
        names,
        shards: vec![String::new(); options.count.div_ceil(options.shard) as usize],
    };
    json_bytes(&fresh, &index_path)?;
    create_folder(&options.out)?;
    let lock = Lock::acquire(&options.out.join(LOCK), &options.out)?;
    check()?;
    mark_folder(&options.out, PAIR_SET)?;
    remove_leftovers(&options.out, &[], &lock)?;
    let mut index = if index_path.exists() {
        let old = read_index(&options.out)?;
        let same = |index: &PairIndex| {
            let PairsOptions { count, shard, batch, steps, guidance, base_seed, .. } = index.options;
            (index.teacher.clone(), index.prompts.clone(), index.names.clone(), count, shard, batch, steps, guidance.to_bits(), base_seed)
        };
        if entry == Entry::New || same(&old) != same(&fresh) {
            let message = if entry == Entry::New {
                "go on with the same command and --resume"
            } else {
                "they were made by another teacher or with other options; give the same ones"
            };
            return Err(TrainError::new(
                TrainErrorKind::Usage,
                format!("{} holds pairs already; {message}, or choose another --out", options.out.display()),
            ));
        }
        index_fits(&options.out, &old, fresh.shape)?;
        old
    } else {
        fresh
    };
    write_index(&options.out, &index)?;

    // What is on the disk and whole is kept.
    for shard in 0..index.shards.len() {
        let path = options.out.join(index.shard_name(shard));
        if !index.shards[shard].is_empty() && !store::read(&path).is_ok_and(|bytes| sha256(&bytes) == index.shards[shard]) {
            observer.note(&format!("{} is missing or damaged: made again", path.display()));
            index.shards[shard].clear();
        }
    }

    let (unet, text_encoder, tokenizer) = (model.unet(device)?, model.text_encoder(device)?, model.tokenizer()?);
    let sampler = Sampler { unet: &unet, schedule: &schedule, steps: options.steps, guidance: options.guidance };
    let empty = encode_prompts(&text_encoder, &tokenizer, &[""], device)?;
    let done = |index: &PairIndex| {
        (0..index.shards.len()).filter(|&shard| !index.shards[shard].is_empty()).map(|shard| index.plan(shard).0.len() as u64).sum::<u64>()
    };
    let mut drawn = done(&index);
    observer.begin("drawing pairs", options.count, drawn);
    for shard in 0..index.shards.len() {
        if !index.shards[shard].is_empty() {
            continue;
        }
        let (seeds, rows) = index.plan(shard);
        let mut latents: Vec<f32> = Vec::new();
        for (seeds, rows) in seeds.chunks(options.batch).zip(rows.chunks(options.batch)) {
            let texts: Vec<&str> = rows.iter().map(|&row| index.prompts[row].as_str()).collect();
            let condition = encode_prompts(&text_encoder, &tokenizer, &texts, device)?;
            let z = noises(seeds, index.shape, device);
            let x = sampler.latents(z, condition, &empty).map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
            latents.extend(x.to_data().try_to_vec::<f32>().unwrap_or_default());
            drawn += seeds.len() as u64;
            observer.step(drawn, "");
            if observer.stopped() {
                return Err(TrainError::new(
                    TrainErrorKind::Interrupted,
                    "stopped; finished shards are kept: go on with the same command and --resume",
                ));
            }
        }
        if latents.iter().any(|value| !value.is_finite()) {
            return Err(TrainError::new(
                TrainErrorKind::NonFinite,
                format!("the teacher drew a latent that is not finite in shard {shard}; it is not fit to be distilled"),
            ));
        }
        let bytes = shard_bytes(&latents, &seeds, &rows, index.shape);
        replace_file(&options.out.join(index.shard_name(shard)), &bytes)?;
        index.shards[shard] = sha256(&bytes);
        write_index(&options.out, &index)?;
    }
    Ok(())
}

fn write_index(folder: &Path, index: &PairIndex) -> Result<(), TrainError> {
    Ok(replace_json(&folder.join(INDEX), index)?)
}

fn read_index(folder: &Path) -> Result<PairIndex, TrainError> {
    let path = folder.join(INDEX);
    let index: PairIndex =
        limits::parse_json(&store::read(&path)?, INDEX_BYTES, &path.display().to_string()).map_err(|error| TrainError::input(error.to_string()))?;
    if index.version != 1 {
        return Err(TrainError::input(format!("{} is of version {}, this release reads 1", path.display(), index.version)));
    }
    let fits = !index.prompts.is_empty()
        && index.options.count > 0
        && index.names.len() == index.prompts.len()
        && index.options.shard > 0
        && index.shards.len() as u64 == index.options.count.div_ceil(index.options.shard);
    if fits {
        Ok(index)
    } else {
        Err(TrainError::input(format!(
            "{} contradicts itself: {} shards for {} pairs, {} names for {} prompts",
            path.display(),
            index.shards.len(),
            index.options.count,
            index.names.len(),
            index.prompts.len()
        )))
    }
}

/// Refuses a set whose latents have another shape than those of its teacher.
fn index_fits(folder: &Path, index: &PairIndex, latent: [usize; 3]) -> Result<(), TrainError> {
    if index.shape == latent {
        return Ok(());
    }
    Err(TrainError::input(format!(
        "{}: shape is {:?}, but the teacher's latents are {latent:?} (channels, rows, columns); draw the pairs again into another folder",
        folder.join(INDEX).display(),
        index.shape
    )))
}

fn shard_bytes(latents: &[f32], seeds: &[u64], rows: &[usize], shape: [usize; 3]) -> Vec<u8> {
    let latent: Vec<u8> = latents.iter().flat_map(|value| value.to_le_bytes()).collect();
    let seed: Vec<u8> = seeds.iter().flat_map(|value| value.to_le_bytes()).collect();
    let prompt: Vec<u8> = rows.iter().flat_map(|&value| (value as u64).to_le_bytes()).collect();
    let count = seeds.len();
    let views = [
        ("latent", Dtype::F32, vec![count, shape[0], shape[1], shape[2]], &latent),
        ("seed", Dtype::I64, vec![count], &seed),
        ("prompt", Dtype::I64, vec![count], &prompt),
    ];
    let views: Vec<_> =
        views.into_iter().filter_map(|(name, dtype, shape, bytes)| Some((name, TensorView::new(dtype, shape, bytes).ok()?))).collect();
    safetensors::serialize(views, None).unwrap_or_default()
}

/// Further axes of a shape, as they follow the first.
fn axes(lengths: &[usize]) -> String {
    lengths.iter().map(|length| format!(", {length}")).collect()
}

/// A whole pair set in memory.
pub struct Pairs {
    /// What made it.
    pub index: PairIndex,
    /// All latents, one after the other.
    pub latents: Vec<f32>,
    /// The seed of each pair's noise.
    pub seeds: Vec<u64>,
    /// The prompt of each pair, as a row of `index.prompts`.
    pub rows: Vec<usize>,
}

impl Pairs {
    /// Reads a finished set; every shard is compared with its hash before a sample is used.
    ///
    /// # Errors
    /// An unfinished set, a shard that is missing, truncated or altered: by name, with the command that repairs it.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let index = read_index(folder)?;
        let mut pairs = Self { latents: Vec::new(), seeds: Vec::new(), rows: Vec::new(), index };
        for shard in 0..pairs.index.shards.len() {
            let path = folder.join(pairs.index.shard_name(shard));
            let refuse = |reason: &str| {
                TrainError::input(format!(
                    "{} {reason}; run `onestep pairs` again with the same options and --resume: it makes just what is missing",
                    path.display()
                ))
            };
            if pairs.index.shards[shard].is_empty() {
                return Err(refuse("is not made yet"));
            }
            if !path.exists() {
                return Err(refuse("is missing"));
            }
            let bytes = store::read(&path)?;
            if sha256(&bytes) != pairs.index.shards[shard] {
                return Err(refuse("is damaged (its bytes are not those that were written)"));
            }
            let file =
                TensorFile::read(&bytes, &path.display().to_string()).map_err(|error| refuse(&format!("cannot be read ({})", error.message())))?;
            let [channels, rows, columns] = pairs.index.shape;
            let tensor = |name: &str, element: ElementType, of_one: &[usize]| {
                let found = file.get(name).ok_or_else(|| refuse(&format!("has no tensor {name}")))?;
                if found.element != element || found.shape.get(1..) != Some(of_one) {
                    let (shape, stored, wanted) = (found.shape, found.element.name(), element.name());
                    return Err(refuse(&format!(
                        "has a tensor {name} {shape:?} of {stored}, expected [pairs{}] of {wanted} (shape in {INDEX})",
                        axes(of_one)
                    )));
                }
                Ok(found)
            };
            let expected = pairs.index.plan(shard).0.len();
            let latent = tensor("latent", ElementType::F32, &[channels, rows, columns])?;
            let (seeds, prompts) = (tensor("seed", ElementType::I64, &[])?, tensor("prompt", ElementType::I64, &[])?);
            for (name, found) in [("latent", latent.shape), ("seed", seeds.shape), ("prompt", prompts.shape)] {
                if found.first() != Some(&expected) {
                    return Err(refuse(&format!("has a tensor {name} {found:?}, but {INDEX} says {expected} pairs in this shard")));
                }
            }
            if let Some(position) = latent.first_non_finite() {
                return Err(refuse(&format!("has a latent that is not finite at {position:?}")));
            }
            pairs.latents.extend(latent.to_f32().unwrap_or_default());
            pairs.seeds.extend(seeds.bytes.as_chunks::<8>().0.iter().map(|&bytes| u64::from_le_bytes(bytes)));
            for &bytes in prompts.bytes.as_chunks::<8>().0 {
                let row = u64::from_le_bytes(bytes) as usize;
                if row >= pairs.index.prompts.len() {
                    return Err(refuse("names a prompt that is not in the list"));
                }
                pairs.rows.push(row);
            }
        }
        Ok(pairs)
    }

    /// Reads a finished set of this teacher's.
    ///
    /// # Errors
    /// See [`open`](Self::open), and pairs that another teacher drew.
    pub fn open_of(folder: &Path, teacher: &PipelineFolder) -> Result<Self, TrainError> {
        let pairs = Self::open(folder)?;
        if pairs.index.teacher != teacher.hash() {
            return Err(TrainError::input(format!("the pairs in {} were drawn by another teacher than the one that was given", folder.display())));
        }
        index_fits(folder, &pairs.index, teacher.sizes()?.latent)?;
        Ok(pairs)
    }

    /// The class label of each pair: equal numbers for equal names of images.
    pub fn labels(&self) -> Vec<usize> {
        let mut numbers = BTreeMap::new();
        let label_of_prompt: Vec<usize> = self
            .index
            .names
            .iter()
            .map(|name| {
                let next = numbers.len();
                *numbers.entry(name).or_insert(next)
            })
            .collect();
        self.rows.iter().map(|&row| label_of_prompt[row]).collect()
    }

    /// A hash of the set: of its latents, seeds, prompts and their names.
    pub fn hash(&self) -> String {
        sha256(json!([self.index.shards, self.index.prompts, self.index.names]).to_string().as_bytes())
    }

    /// The latents of some pairs, [N,C,H,W].
    pub fn targets(&self, pairs: &[usize], device: &Device) -> Tensor<4> {
        let elements: usize = self.index.shape.iter().product();
        let data: Vec<f32> = pairs.iter().flat_map(|&pair| self.latents[pair * elements..(pair + 1) * elements].iter().copied()).collect();
        let [channels, rows, columns] = self.index.shape;
        Tensor::from_data(burn::tensor::TensorData::new(data, [pairs.len(), channels, rows, columns]), device)
    }
}
