//! `pairs`: samples the noise–latent pairs of the teacher that the student is trained on.
//!
//! Seed and prompt of pair k depend on k only, so any shard can be made again: the seed is `base_seed + k`, and each round of prompts is a new random
//! permutation of the list.
//!
//! ```text
//! index.json                          teacher, options, prompts, and the hash of every finished shard
//! pairs-00000-of-00020.safetensors    latent [n,C,H,W] f32 · seed [n] i64 · prompt [n] i64 (row of the prompt list)
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use onestep_nets::{Conditioning, NoiseSchedule, UNet2DConditionModel};
use onestep_noise::{Philox, Stream};
use onestep_pipeline::config::TimestepSpacing;
use onestep_program::{ElementType, TensorFile, limits};
use onestep_store::{
    Lock, RECORD_FILE, create_folder, is_marked, json_bytes, mark_folder, refuse_foreign, remove_stale_scratch, replace_file, replace_json,
};
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    error::{TrainError, TrainErrorKind, check_options},
    observer::Observer,
    pair_prompts::{PairPrompts, PromptSource},
    pipeline_folder::{ModelOptions, PipelineFolder},
    prompt_encoder::PromptEncoder,
    run_folder::{Entry, LOCK, model_of},
    sampler::{Sampler, check_deterministic, noises},
    store::{self, sha256},
    training_loop::check_elements,
};

/// Options of `pairs`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsOptions {
    /// Run or model folder of the teacher.
    #[arg(long, value_name = "DIR")]
    pub teacher: PathBuf,
    /// How the teacher is opened.
    #[command(flatten)]
    pub model: ModelOptions,
    /// The image folder with captions to use as prompts; its images are not read.
    #[arg(long, value_name = "DIR", conflicts_with = "prompts")]
    pub data: PathBuf,
    /// File of prompts, instead of --data: text with one prompt per line, .jsonl, .csv, .tsv or .parquet.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// Key or column of --prompts; by default text, caption or prompt.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_column: Option<String>,
    /// The folder of the pair set.
    #[arg(skip)]
    pub out: PathBuf,
    /// Number of pairs.
    #[arg(long)]
    pub count: u64,
    /// Pairs per shard.
    #[arg(long)]
    pub shard: u64,
    /// Pairs per forward pass.
    #[arg(long)]
    pub batch: usize,
    /// Steps of the ODE solver.
    #[arg(long)]
    pub steps: usize,
    /// Guidance scale; 1 for none.
    #[arg(long)]
    pub guidance: f64,
    /// Scheduler in place of the teacher's: a scheduler_config.json, or ddim, pndm, euler or dpm-multistep.
    #[arg(long, value_name = "FILE|NAME")]
    pub scheduler: Option<String>,
    /// Timesteps of the ODE solver, in place of the teacher's: linspace, leading or trailing.
    #[arg(long, value_name = "SPACING", value_parser = timestep_spacing)]
    pub spacing: Option<TimestepSpacing>,
    /// Seed of pair 0. The default is far from the small numbers that people choose, so that these stay unseen in training.
    #[arg(long)]
    pub base_seed: u64,
}

impl Default for PairsOptions {
    fn default() -> Self {
        Self {
            teacher: PathBuf::new(),
            model: ModelOptions::default(),
            data: PathBuf::new(),
            prompts: PathBuf::new(),
            caption_column: None,
            out: PathBuf::new(),
            count: 20_000,
            shard: 1000,
            batch: 32,
            steps: 50,
            guidance: 2.0,
            scheduler: None,
            spacing: None,
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
    /// The options of the command.
    pub options: PairsOptions,
    /// [channels, rows, columns] of noise and latent.
    pub shape: [usize; 3],
    /// The list of prompts.
    pub prompts: Vec<String>,
    /// For each prompt, the name of the image that it describes. Empty for prompts of a file, each of which is its own name.
    pub names: Vec<String>,
    /// SHA-256 of each shard; empty until the shard is finished.
    pub shards: Vec<String>,
}

const INDEX: &str = "index.json";
/// The kind of the folder, in its mark.
const PAIR_SET: &str = "a pair set";
/// Enough for ten million prompts.
const INDEX_BYTES: limits::Limit = limits::Limit { what: "bytes of the index of a pair set", max: 1 << 30 };

impl PairIndex {
    fn shard_name(&self, shard: usize) -> String {
        format!("pairs-{shard:05}-of-{:05}.safetensors", self.shards.len())
    }

    /// The numbers of the pairs of one shard.
    fn range(&self, shard: usize) -> Range<u64> {
        let first = shard as u64 * self.options.shard;
        first..first.saturating_add(self.options.shard).min(self.options.count)
    }

    /// The number of pairs of one shard.
    fn pairs_in(&self, shard: usize) -> u64 {
        let range = self.range(shard);
        range.end - range.start
    }

    /// Seeds of one shard, and rows of its prompts in the list.
    fn seeds_and_rows(&self, shard: usize) -> (Vec<u64>, Vec<usize>) {
        let options = &self.options;
        let range = self.range(shard);
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

/// Names of shards have five digits for the number.
const MOST_SHARDS: u64 = 99_999;

impl PairsOptions {
    fn source(&self) -> PromptSource<'_> {
        let Self { count, base_seed, .. } = *self;
        PromptSource { data: &self.data, prompts: &self.prompts, caption_column: self.caption_column.as_deref(), count, base_seed }
    }

    fn shards(&self) -> u64 {
        self.count.div_ceil(self.shard)
    }

    /// Refuses options that cannot work.
    fn check(&self) -> Result<(), TrainError> {
        let usage = |message: &str| Err(TrainError::new(TrainErrorKind::Usage, message));
        match (self.data.as_os_str().is_empty(), self.prompts.as_os_str().is_empty()) {
            (true, true) => return usage("--data and --prompts are missing: give --data DIR or --prompts FILE, or a --config that has one of them"),
            (false, false) => return usage("--data and --prompts are both given, one of them in the file of --config perhaps; give one"),
            (false, true) if self.caption_column.is_some() => return usage("--caption-column is for --prompts; leave it out with --data"),
            _ => {}
        }
        let at_least_1 = |name: &str, value: u64| (format!("{name} {value}"), value > 0, "at least 1");
        check_options([at_least_1("--count", self.count), at_least_1("--shard", self.shard), at_least_1("--batch", self.batch as u64)])?;
        if self.shards() > MOST_SHARDS {
            let message =
                format!("--count {} in files of --shard {} are more than {MOST_SHARDS} files; choose a larger --shard", self.count, self.shard);
            return Err(TrainError::new(TrainErrorKind::Usage, message));
        }
        let is_in_range = self.base_seed.checked_add(self.count).is_some();
        check_options([
            (format!("--guidance {}", self.guidance), self.guidance.is_finite(), "a number that is finite"),
            (format!("--base-seed {}", self.base_seed), is_in_range, "a smaller number, because --count seeds follow it"),
        ])
    }

    /// Refuses batches and shards that no machine has memory for. `latent` is [channels, rows, columns].
    fn check_memory(&self, latent: [usize; 3]) -> Result<(), TrainError> {
        // A shard has at most all pairs of the set.
        let check = |option: &str, number: u64| check_elements(option, usize::try_from(number.min(self.count)).unwrap_or(usize::MAX), latent);
        check("--batch", self.batch as u64)?;
        check("--shard", self.shard)
    }
}

/// A timestep spacing of an option.
fn timestep_spacing(name: &str) -> Result<TimestepSpacing, String> {
    let known = [TimestepSpacing::Linspace, TimestepSpacing::Leading, TimestepSpacing::Trailing];
    known.into_iter().find(|spacing| spacing.name() == name).ok_or_else(|| "expected linspace, leading or trailing".to_owned())
}

/// Refuses a number of steps that the solver cannot take (a usage error), and a scheduler that gives latents which a student cannot learn.
fn check_solver(schedule: &NoiseSchedule, options: &PairsOptions) -> Result<(), TrainError> {
    onestep_pipeline::solver::timesteps(schedule, options.steps).map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
    check_deterministic(schedule, options.steps)
        .map_err(|error| TrainError::input(format!("the teacher {}: {error}; give one with --scheduler", options.teacher.display())))
}

/// Samples all pairs of a set that are missing.
///
/// # Errors
/// Options that cannot work, a folder with other pairs, storage, a latent that is not finite, interruption (finished shards are kept).
pub fn make(options: &PairsOptions, entry: Entry, device: &Device, observer: &mut dyn Observer) -> Result<(), TrainError> {
    options.check()?;
    let check_folder = || if is_marked(&options.out, PAIR_SET) { Ok(()) } else { refuse_foreign(&options.out, "the pairs", &[LOCK, RECORD_FILE]) };
    check_folder()?;
    let stored = PipelineFolder::open_with(&model_of(&options.teacher)?, &options.model)?;
    let mut teacher = stored.clone();
    teacher.use_scheduler(options.scheduler.as_deref(), options.spacing)?;
    teacher.check()?;
    let sizes = teacher.sizes()?;
    options.check_memory(sizes.latent)?;
    check_solver(&teacher.schedule()?, options)?;
    let requested = PairIndex::new(options, stored.hash()?, sizes.latent, PairPrompts::read(options.source(), observer)?);
    json_bytes(&requested, &options.out.join(INDEX))?;
    // Weights that cannot be used leave no folder.
    let pair_sampler = PairSampler::new(&teacher, options, device)?;

    create_folder(&options.out)?;
    let lock = Lock::acquire(&options.out.join(LOCK), &options.out)?;
    check_folder()?;
    mark_folder(&options.out, PAIR_SET)?;
    remove_stale_scratch(&options.out, &[], &lock)?;
    let mut index = requested.resumed(entry)?;
    write_index(&options.out, &index)?;
    index.forget_damaged(&options.out, observer);

    pair_sampler.prompt_encoder.note_long_captions(index.prompts.iter().map(String::as_str), observer)?;
    observer.begin("sampling pairs", options.count, index.finished_pairs());
    for shard in 0..index.shards.len() {
        if index.shards[shard].is_empty() {
            let bytes = pair_sampler.sample_shard(&index, shard, observer)?;
            replace_file(&options.out.join(index.shard_name(shard)), &bytes)?;
            index.shards[shard] = sha256(&bytes);
            write_index(&options.out, &index)?;
        }
    }
    Ok(())
}

impl PairIndex {
    /// The index of a set without any shard.
    /// `teacher` is the hash of its files.
    fn new(options: &PairsOptions, teacher: String, latent: [usize; 3], PairPrompts { prompts, names }: PairPrompts) -> Self {
        let shards = vec![String::new(); options.shards() as usize];
        Self { version: 1, teacher, options: options.clone(), shape: latent, prompts, names, shards }
    }

    /// This index, or that of the folder if it has one of the same pairs and is resumed.
    fn resumed(self, entry: Entry) -> Result<Self, TrainError> {
        let folder = &self.options.out;
        if !folder.join(INDEX).exists() {
            return Ok(self);
        }
        let found = read_index(folder)?;
        let message = match entry {
            Entry::New => "continue with the same command and --resume",
            Entry::Resume if found.identity() != self.identity() => "they were made by another teacher or with other options; give the same ones",
            Entry::Resume if (&found.prompts, &found.names) != (&self.prompts, &self.names) => {
                "their prompts are others than those of --data or --prompts, which has changed since; give the same prompts"
            }
            Entry::Resume => {
                check_shape(folder, &found, self.shape)?;
                return Ok(found);
            }
        };
        let message = format!("{} holds pairs already; {message}, or choose another --out", folder.display());
        Err(TrainError::new(TrainErrorKind::Usage, message))
    }

    /// All that the pairs depend on besides the prompts.
    fn identity(&self) -> impl PartialEq + use<> {
        let PairsOptions { count, shard, batch, steps, guidance, base_seed, .. } = self.options;
        (self.teacher.clone(), count, shard, batch, steps, guidance.to_bits(), base_seed)
    }

    /// Clears the hashes of shards that are missing or damaged, so that they are made again.
    fn forget_damaged(&mut self, folder: &Path, observer: &mut dyn Observer) {
        for shard in 0..self.shards.len() {
            let path = folder.join(self.shard_name(shard));
            if !self.shards[shard].is_empty() && !store::read(&path).is_ok_and(|bytes| sha256(&bytes) == self.shards[shard]) {
                observer.note(&format!("{} is missing or damaged: made again", path.display()));
                self.shards[shard].clear();
            }
        }
    }

    /// The number of pairs in finished shards.
    fn finished_pairs(&self) -> u64 {
        let finished = (0..self.shards.len()).filter(|&shard| !self.shards[shard].is_empty());
        finished.map(|shard| self.pairs_in(shard)).sum()
    }
}

/// The teacher with all that sampling needs.
struct PairSampler<'a> {
    options: &'a PairsOptions,
    device: &'a Device,
    unet: UNet2DConditionModel,
    schedule: NoiseSchedule,
    prompt_encoder: PromptEncoder,
    /// The conditions of the unconditional prediction.
    empty: Conditioning,
}

impl<'a> PairSampler<'a> {
    fn new(teacher: &PipelineFolder, options: &'a PairsOptions, device: &'a Device) -> Result<Self, TrainError> {
        let prompt_encoder = PromptEncoder::open(teacher, options.guidance, device)?;
        let empty = prompt_encoder.unconditional(device)?;
        Ok(Self { options, device, unet: teacher.unet(device)?, schedule: teacher.schedule()?, prompt_encoder, empty })
    }

    /// Samples the pairs of one shard, and returns the bytes of its file.
    fn sample_shard(&self, index: &PairIndex, shard: usize, observer: &mut dyn Observer) -> Result<Vec<u8>, TrainError> {
        let PairsOptions { batch, steps, guidance, .. } = *self.options;
        let sampler = Sampler { unet: &self.unet, schedule: &self.schedule, steps, guidance };
        let (seeds, rows) = index.seeds_and_rows(shard);
        let mut done = index.finished_pairs();
        let mut latents: Vec<f32> = Vec::new();
        for (seeds, rows) in seeds.chunks(batch).zip(rows.chunks(batch)) {
            let prompts: Vec<&str> = rows.iter().map(|&row| index.prompts[row].as_str()).collect();
            let condition = self.prompt_encoder.encode(&prompts, self.device)?;
            let z = noises(seeds, index.shape, self.device);
            let x = sampler.latents(z, condition, &self.empty).map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
            latents.extend(x.to_data().try_to_vec::<f32>().unwrap_or_default());
            done += seeds.len() as u64;
            observer.step(done, "");
            if observer.stopped() {
                let message = "stopped; finished shards are kept: continue with the same command and --resume";
                return Err(TrainError::new(TrainErrorKind::Interrupted, message));
            }
        }
        if latents.iter().any(|value| !value.is_finite()) {
            let message = format!("sampling shard {shard}: the teacher gave a latent that is not finite, so it cannot be distilled; train it again");
            return Err(TrainError::new(TrainErrorKind::NonFinite, message));
        }
        Ok(shard_bytes(&latents, &seeds, &rows, index.shape))
    }
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
        && (index.names.len() == index.prompts.len() || index.names.is_empty())
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

/// Refuses a set with another shape of latents than its teacher.
fn check_shape(folder: &Path, index: &PairIndex, latent: [usize; 3]) -> Result<(), TrainError> {
    if index.shape == latent {
        return Ok(());
    }
    Err(TrainError::input(format!(
        "{}: shape is {:?}, but the teacher's latents are {latent:?} (channels, rows, columns); make the pairs again in another folder",
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

/// The axes of a shape after the first, as text.
fn other_axes(lengths: &[usize]) -> String {
    lengths.iter().map(|length| format!(", {length}")).collect()
}

/// A finished pair set in memory.
pub struct Pairs {
    /// Its index.
    pub index: PairIndex,
    /// All latents: [pairs, channels, rows, columns], flat.
    pub latents: Vec<f32>,
    /// The seed of each pair's noise.
    pub seeds: Vec<u64>,
    /// The prompt of each pair, as a row of `index.prompts`.
    pub rows: Vec<usize>,
}

impl Pairs {
    /// Reads a finished set and verifies the hash of every shard.
    ///
    /// # Errors
    /// An unfinished set, a shard that is missing, truncated or altered, with the command that repairs it.
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
                        other_axes(of_one)
                    )));
                }
                Ok(found)
            };
            let expected = pairs.index.pairs_in(shard) as usize;
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
                    return Err(refuse("has a prompt row that is not in the list"));
                }
                pairs.rows.push(row);
            }
        }
        Ok(pairs)
    }

    /// Reads a finished set of this teacher.
    ///
    /// # Errors
    /// See [`open`](Self::open); pairs of another teacher.
    pub fn open_of(folder: &Path, teacher: &PipelineFolder) -> Result<Self, TrainError> {
        let pairs = Self::open(folder)?;
        if pairs.index.teacher != teacher.hash()? {
            return Err(TrainError::input(format!(
                "the pairs in {} are of another teacher than the given one; give that teacher, or make pairs with this one",
                folder.display()
            )));
        }
        check_shape(folder, &pairs.index, teacher.sizes()?.latent)?;
        Ok(pairs)
    }

    /// The class label of each pair: equal numbers for equal names of images, or for equal prompts where prompts have no names.
    pub fn labels(&self) -> Vec<usize> {
        let PairIndex { prompts, names, .. } = &self.index;
        let mut numbers = BTreeMap::new();
        let label_of_prompt: Vec<usize> = if names.is_empty() { prompts } else { names }
            .iter()
            .map(|name| {
                let next = numbers.len();
                *numbers.entry(name).or_insert(next)
            })
            .collect();
        self.rows.iter().map(|&row| label_of_prompt[row]).collect()
    }

    /// A hash of latents, seeds, prompts and names.
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
