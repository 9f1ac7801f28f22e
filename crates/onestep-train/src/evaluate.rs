//! `eval`: students at one step beside their teacher at several, on held-out prompts and on noises that none of them saw.
//!
//! Every artist draws the same prompts with the same noises; each image is drawn once and serves all measures:
//! - *Sets*: the drawn images against a reference, by [`measures`](crate::measures) of their [`features`](crate::features). One reference is what
//!   the teacher draws for the same prompts with **other** noises, so that the teacher's own row says how small a number can be; the other
//!   is the real images.
//! - *Preservation of the ODE*: distance of features, root mean square difference of 16×16 averages (which forgives fine detail), and PSNR
//!   (10·log₁₀(4/MSE) over images in −1…1), between an image and the teacher's for the same prompt and noise; the teacher's images for two
//!   noises of one prompt are the yardstick. With the pair set that the students were trained on, the same on pairs that they know: a student that
//!   is much nearer there has learned them by heart.
//! - *Diversity*: mean distance of features between any two of 8 images of one prompt; to be read together with the alignment, since images
//!   of the wrong thing are diverse too.
//! - *Alignment*: whether an image shows what was asked for, where the features come with a judge.
//! - *Retrieval*: an image is drawn for each name; the real images are ordered by the distance of features to it; top-k says how often one of
//!   those with that name is among the first k.

mod drawing;
mod page;

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use onestep_store::{FolderDestination, FolderKind, recorded_folder_kind, replace_json};
use serde::{Deserialize, Serialize};

use crate::{
    data::ImageFolder,
    error::{TrainError, TrainErrorKind, check_options},
    features::{self, Asked, PixelAverages, matrix, mean_score},
    image_grid::{ImageGrid, rgb},
    measures::{
        FeatureMatrix, Gaussian, KernelDistance, Manifold, diversity, frechet_distance, kernel_distance, manifold, mean_distance, psnr,
        squared_distance,
    },
    observer::Observer,
    pairs::Pairs,
    pipeline_folder::PipelineFolder,
    run_folder::{config_of, model_of, write_description},
    training_loop::check_elements,
};
use drawing::{Artist, Draw, Drawn, Plan, Studio, TOGETHER};

/// Options of `eval`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// Run or model folders of the students.
    pub students: Vec<PathBuf>,
    /// The image folder.
    pub data: PathBuf,
    /// The pair set that the students were trained on; with it they are measured on pairs that they know too.
    pub pairs: Option<PathBuf>,
    /// Where report and grids go.
    pub out: PathBuf,
    /// Run or model folder of the network whose features are compared; none takes averages of pixels.
    pub features: Option<PathBuf>,
    /// Names to draw; 0 for all.
    pub count: usize,
    /// Images of each set that is compared with a reference.
    pub samples: usize,
    /// Prompts of which 8 images are compared with each other.
    pub diverse: usize,
    /// Steps of the teacher that the students are measured against.
    pub steps: usize,
    /// Steps at which the teacher is measured too.
    pub teacher_steps: Vec<usize>,
    /// Guidance of the teacher.
    pub guidance: f64,
    /// Seed of the first image.
    pub seed: u64,
    /// Names shown in the grid.
    pub shown: Vec<String>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            teacher: PathBuf::new(),
            students: Vec::new(),
            data: PathBuf::new(),
            pairs: None,
            out: PathBuf::new(),
            features: None,
            count: 0,
            samples: 512,
            diverse: 16,
            steps: 50,
            teacher_steps: vec![1, 2, 4, 8, 50],
            guidance: 2.0,
            seed: 10_000,
            shown: Vec::new(),
        }
    }
}

/// How often the right image came among the first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Retrieval {
    /// Share of names of which an image came first.
    pub top_1: f64,
    /// Share of names of which an image was among the first five.
    pub top_5: f64,
}

/// A set of drawn images against a reference.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SetMeasures {
    /// Fréchet distance of the features' Gaussians.
    pub frechet_distance: f64,
    /// Squared maximum mean discrepancy.
    pub kernel_distance: KernelDistance,
    /// Precision, recall, density and coverage.
    #[serde(flatten)]
    pub manifold: Manifold,
}

/// Images against others, pair by pair.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PairMeasures {
    /// Mean distance of features, divided by √features.
    pub distance: f64,
    /// Mean distance of the images' 16×16 averages, values in −1…1.
    pub averages: f64,
    /// Peak signal-to-noise ratio over all pairs, dB; none for equal images.
    pub psnr: Option<f64>,
}

/// One row of the evaluation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelReport {
    /// `teacher` or `student`.
    pub model: String,
    /// Its folder's name where there are several students.
    pub name: Option<String>,
    /// Steps of the ODE solver; 1 for the student.
    pub steps: usize,
    /// Evaluations of the denoiser for one image.
    pub evaluations: usize,
    /// Against the teacher's images for the same prompts and other noises.
    pub to_teacher: SetMeasures,
    /// Against the real images.
    pub to_real: SetMeasures,
    /// Against the teacher's images for the same prompts and noises.
    pub preservation: PairMeasures,
    /// A student's images for pairs that it was trained on, against the teacher's; much nearer than `preservation`, it knows them by heart.
    pub preservation_trained: Option<PairMeasures>,
    /// Mean distance between two of 8 images of one prompt.
    pub diversity: f64,
    /// The same divided by the teacher's; none if that is 0.
    pub diversity_ratio: Option<f64>,
    /// Mean score of the judge.
    pub alignment: Option<f64>,
    /// Of the real images, by those drawn for their names; none for the teacher at other steps.
    pub retrieval: Option<Retrieval>,
    /// The same with held-out phrasings as prompts.
    pub retrieval_held_out: Option<Retrieval>,
    /// Wall-clock time of an image in batches of 32, prompt and decoder included. The one number that a second run does not repeat.
    pub seconds_per_image: f64,
}

/// Pairs that the students were trained on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TrainedPairs {
    /// How many of them are measured.
    pub count: usize,
    /// Steps of the ODE solver that drew them.
    pub steps: usize,
    /// The teacher's guidance then.
    pub guidance: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Names drawn.
    pub names: usize,
    /// Steps of the teacher that the students are measured against.
    pub teacher_steps: usize,
    /// Guidance of the teacher.
    pub guidance: f64,
    /// Seed of the first image.
    pub seed: u64,
    /// Images of each set.
    pub samples: usize,
    /// Real images.
    pub real: usize,
    /// What the features are.
    pub features: String,
    /// How many features an image has.
    pub feature_size: usize,
    /// What an alignment is, where there is a judge.
    pub alignment: Option<String>,
    /// Whether it is a share, from 0 to 1, that is well read in percent.
    pub alignment_is_share: bool,
    /// The judge's mean score of the real images.
    pub real_alignment: Option<f64>,
    /// Pairs that the students were trained on and are measured on too, where a pair set was given.
    pub trained_pairs: Option<TrainedPairs>,
    /// Prompts of which 8 images are compared with each other.
    pub diverse: usize,
    /// Teacher ↔ teacher, same prompts, two noises: the yardstick of every row's preservation.
    pub two_noises: PairMeasures,
    /// Teacher ↔ teacher, different prompts.
    pub unrelated: PairMeasures,
    /// The teacher at each number of steps, then the students.
    pub models: Vec<ModelReport>,
}

impl Report {
    /// A score of the judge's as people read it.
    pub fn alignment_shown(&self, score: Option<f64>) -> Option<String> {
        score.map(|score| if self.alignment_is_share { format!("{:.1} %", score * 100.0) } else { format!("{score:.4}") })
    }
}

/// Parts of a pipeline that a student has from its teacher as they are.
const SHARED: [&str; 4] = ["vae", "text_encoder", "tokenizer", "scheduler"];
/// Noises of one prompt whose images are compared with each other.
const NOISES: usize = 8;
/// Least distance between the first seeds of two sets.
const SEEDS: u64 = 100_000;
/// Columns of the page's grids.
const COLUMNS: usize = 8;
/// Prompts whose images for several noises the page shows.
const DIVERSE_SHOWN: usize = 3;

/// A folder with an evaluation.
const EVALUATION: FolderKind = recorded_folder_kind!("an evaluation");

/// Measures and writes `report.json`, `report.html` and `grid.png` (rows: real, teacher, student), with `config.toml` and `command.txt` beside them.
///
/// # Errors
/// Models or data that cannot be read, storage, interruption.
pub fn evaluate(options: &EvaluateOptions, device: &Device, observer: &mut dyn Observer) -> Result<Report, TrainError> {
    // Models, images, features.
    let config = config_of(options)?;
    let mut destination = FolderDestination::acquire(&options.out, EVALUATION, &[])?;
    check_options([(format!("--guidance {}", options.guidance), options.guidance.is_finite(), "a number that is finite")])?;
    let teacher = PipelineFolder::open(&model_of(&options.teacher)?)?;
    teacher.check()?;
    let sizes = teacher.sizes()?;
    check_elements("--samples", options.samples, [3, sizes.image, sizes.image])?;
    if options.students.is_empty() {
        return Err(TrainError::new(TrainErrorKind::Usage, "no student to measure: give --student DIR, once or several times"));
    }
    let mut students = Vec::new();
    for folder in &options.students {
        let student = PipelineFolder::open(&model_of(folder)?)?;
        student.check()?;
        if student.sizes()? != sizes {
            return Err(TrainError::input(format!(
                "{} draws images of another size than {}: a student is measured beside its own teacher",
                folder.display(),
                options.teacher.display()
            )));
        }
        if let Some(part) = SHARED.into_iter().find(|part| !student.has_same(part, &teacher)) {
            return Err(TrainError::input(format!(
                "{} has another {part} than {}: a student is measured beside its own teacher, whose parts it has but for the denoiser",
                folder.display(),
                options.teacher.display()
            )));
        }
        students.push(student);
    }
    let schedule = teacher.schedule()?;
    for &steps in options.teacher_steps.iter().chain([&options.steps]) {
        schedule.timesteps(steps).map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
    }
    let known_pairs = options.pairs.as_deref().map(|folder| KnownPairs::open(folder, &teacher, options.samples)).transpose()?;
    let images = ImageFolder::open(&options.data, sizes.image)?;
    let size = sizes.image;
    let samples = options.samples.max(2);
    let known = by_name(&images);
    let count = if options.count == 0 { known.len() } else { options.count.min(known.len()) };
    if count < 2 || !size.is_multiple_of(PixelAverages::SIDE) {
        return Err(TrainError::input(format!(
            "evaluation takes at least 2 names, and images whose side is a multiple of {}; {} has {count} names and images of {size}",
            PixelAverages::SIDE,
            options.data.display(),
        )));
    }
    let opened = features::open(options.features.as_deref(), size, device)?;
    let network = opened.network.as_ref();
    let chosen: Vec<usize> = (0..count).map(|i| known[i * known.len() / count][0]).collect();
    let mut prompts = prompts(&images, &chosen);
    let first_known = prompts.len();
    if let Some(known) = &known_pairs {
        prompts.extend(known.prompts().map(|prompt| Asked { name: prompt, prompt }));
    }
    // The real images come first: what is wrong with a judge is said before hours are spent on drawing. One of each name, then another of each.
    let most = known.iter().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..most).flat_map(|round| known.iter().filter_map(move |of_name| of_name.get(round).copied()));
    let real: Vec<usize> = rounds.take(samples.max(known.len())).collect();
    let real_images: Vec<Vec<f32>> = real.iter().map(|&index| images.pixels(index).to_vec()).collect();
    let to_real = Reference::new(matrix(network, &real_images, size, device));
    let name = |index: usize| images.entries()[index].text.as_str();
    let real_asked: Vec<Asked<'_>> = real.iter().map(|&index| Asked { name: name(index), prompt: name(index) }).collect();
    let real_names: Vec<&str> = real_asked.iter().map(|asked| asked.name).collect();
    let judge = opened.alignment.as_deref();
    let real_alignment = judge.map(|judge| mean_score(judge, &real_images, &real_asked, size, device)).transpose()?;
    let mut studio = Studio::open(&teacher, &students, options.guidance, &prompts, device)?;

    // Which images are needed.
    let diverse = options.diverse.clamp(1, count);
    let held_out = HeldOut { count, seed: options.seed, spacing: (samples.max(count * NOISES) as u64).div_ceil(SEEDS) * SEEDS };
    let seeds = held_out.seeds()?;
    if let Some(known) = &known_pairs {
        known.keeps_out_of(&seeds)?;
    }
    let main = Artist::Teacher(options.steps);
    let mut reference_plan = Plan::default();
    let reference_places = reference_plan.add((0..samples).map(|i| held_out.draw(2, i)));
    let mut steps = options.teacher_steps.clone();
    steps.push(options.steps);
    steps.sort_unstable();
    steps.dedup();
    let order = std::iter::once(main)
        .chain(steps.iter().filter(|&&steps| steps != options.steps).map(|&steps| Artist::Teacher(steps)))
        .chain((0..students.len()).map(Artist::Student));
    let mut works: Vec<Work> = order.map(|artist| Work::new(artist, artist == main || artist.is_student(), &held_out, samples, diverse)).collect();
    if let Some(known) = &known_pairs {
        for work in works.iter_mut().filter(|work| work.artist.is_student()) {
            work.known = work.plan.add(known.seeds().enumerate().map(|(place, seed)| Draw { prompt: first_known + place, seed }));
        }
    }
    let mut plans = vec![(main, &reference_plan)];
    plans.extend(works.iter().map(|work| (work.artist, &work.plan)));
    studio.begin(&plans, observer);

    // The reference.
    let averages = |images: &[Vec<f32>]| matrix(&PixelAverages, images, size, device);
    let drawn = studio.draw(main, &reference_plan, observer)?;
    let reference_images = drawn.select(&reference_places);
    let to_teacher = Reference::new(matrix(network, &reference_images, size, device));

    // The teacher's images of the pairs that the students know.
    let set_of = |images: Vec<Vec<f32>>| DrawnSet { averages: averages(&images), features: matrix(network, &images, size, device), images };
    let known_set = known_pairs.as_ref().map(|known| set_of(known.latents(device).flat_map(|latents| studio.decode(latents)).collect()));

    // Each artist; the teacher that the others are compared with is the first.
    let asked: Vec<Asked<'_>> = (0..samples).map(|i| prompts[held_out.draw(1, i).prompt]).collect();
    let chosen_names: Vec<&str> = chosen.iter().map(|&index| name(index)).collect();
    let mut models = Vec::new();
    let mut shown: Vec<Shown> = Vec::new();
    let mut firsts: Option<(DrawnSet, f64)> = None;
    let mut by_names = Vec::new();
    for work in &works {
        let drawn = studio.draw(work.artist, &work.plan, observer)?;
        let all = matrix(network, &drawn.images, size, device);
        let set = drawn.select(&work.set);
        let spread = diversity(&all.select(&work.diverse), NOISES);
        let alignment = judge.map(|judge| mean_score(judge, &set, &asked, size, device)).transpose()?;
        let own = DrawnSet { averages: averages(&set), images: set, features: all.select(&work.set) };
        let retrieval = |places: &Vec<usize>| retrieval(&all.select(places), &chosen_names, &to_real.features, &real_names);
        let (firsts, first_spread) = &*firsts.get_or_insert_with(|| (own.clone(), spread));
        models.push(ModelReport {
            model: if work.artist.is_student() { "student" } else { "teacher" }.into(),
            name: match work.artist {
                Artist::Student(place) if students.len() > 1 => Some(folder_name(&options.students[place])),
                _ => None,
            },
            steps: if let Artist::Teacher(steps) = work.artist { steps } else { 1 },
            evaluations: studio.evaluations(work.artist),
            to_teacher: to_teacher.measure(&own.features, options.seed),
            to_real: to_real.measure(&own.features, options.seed),
            preservation: own.beside(firsts),
            preservation_trained: known_set
                .as_ref()
                .filter(|_| work.artist.is_student())
                .map(|known| set_of(drawn.select(&work.known)).beside(known)),
            diversity: spread,
            diversity_ratio: (*first_spread > 0.0).then(|| spread / first_spread),
            alignment,
            retrieval: work.retrieved.as_ref().map(|retrieved| retrieval(&retrieved.names)),
            retrieval_held_out: work.retrieved.as_ref().map(|retrieved| retrieval(&retrieved.held_out)),
            seconds_per_image: drawn.seconds_per_image,
        });
        shown.push(Shown::new(work, work.artist == main, &drawn, &own.images, count.min(samples)));
        if let Some(retrieved) = &work.retrieved {
            by_names.push(drawn.select(&retrieved.names));
        }
    }
    let (firsts, _) = firsts.ok_or_else(|| TrainError::input("no images were drawn"))?;
    let reference = DrawnSet { averages: averages(&reference_images), images: reference_images, features: to_teacher.features };
    let turned: Vec<usize> = (0..samples).map(|i| (i + 1) % samples).collect();
    let two_noises = firsts.beside(&reference);
    let unrelated = firsts.selected(&turned).beside(&firsts);
    // Rows and grids go from few steps to many, the students last.
    let mut places: Vec<usize> = (0..works.len()).collect();
    places.sort_by_key(|&place| (models[place].model == "student", models[place].steps));
    let models = places.iter().map(|&place| models[place].clone()).collect();
    let shown: Vec<&Shown> = places.iter().map(|&place| &shown[place]).collect();
    let report = Report {
        names: count,
        teacher_steps: options.steps,
        guidance: options.guidance,
        seed: options.seed,
        samples,
        real: real.len(),
        features: network.name(),
        feature_size: to_real.features.columns(),
        alignment: judge.map(|judge| judge.name()),
        alignment_is_share: judge.is_some_and(|judge| judge.is_share()),
        real_alignment,
        trained_pairs: known_pairs.as_ref().map(KnownPairs::facts),
        diverse,
        two_noises,
        unrelated,
        models,
    };

    // Report and grids.
    let folder = destination.begin()?.to_owned();
    write_description(&folder, &config)?;
    replace_json(&folder.join("report.json"), &report)?;
    let bytes = |images: &[Vec<f32>]| rgb(&features::tensor(images, size, device));
    let named = |i: usize| prompts[i].name;
    let wanted = |i: &usize| options.shown.is_empty() || options.shown.iter().any(|name| name == named(*i));
    let originals: Vec<Vec<f32>> = chosen.iter().map(|&index| images.pixels(index).to_vec()).collect();
    let mut grid = ImageGrid::new(size);
    for some in (0..count).filter(wanted).collect::<Vec<_>>().chunks(16) {
        grid.rgb_row(bytes(&some.iter().map(|&i| originals[i].clone()).collect::<Vec<_>>()));
        for set in &by_names {
            grid.rgb_row(bytes(&some.iter().map(|&i| set[i].clone()).collect::<Vec<_>>()));
        }
    }
    grid.write(&folder.join("grid.png"))?;
    let grids = page::Grids::new(&shown, &report.models, &originals, &prompts[count..first_known], size, device)?;
    page::write(&folder.join("report.html"), &folder_name(&options.out), &report, &grids)?;
    destination.publish()?;
    Ok(report)
}

/// The images of each distinct name, both in the order of the folder.
fn by_name(images: &ImageFolder) -> Vec<Vec<usize>> {
    let (names, places) = images.names();
    let mut found = vec![Vec::new(); names.len()];
    for (index, place) in places.into_iter().enumerate() {
        found[place].push(index);
    }
    found
}

/// What a folder is called: the run's name, not `model`, which every run has.
fn folder_name(folder: &Path) -> String {
    let of = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match of(folder) {
        Some(name) if name == "model" => folder.parent().and_then(of).unwrap_or(name),
        Some(name) => name,
        None => folder.display().to_string(),
    }
}

/// Names first, then for each a phrasing that was not trained on, or the name where there is none.
fn prompts<'a>(images: &'a ImageFolder, chosen: &[usize]) -> Vec<Asked<'a>> {
    let name = |index: usize| images.entries()[index].text.as_str();
    let held_out = |index: usize| images.held_out_prompts(index).first().map_or(name(index), String::as_str);
    let names = chosen.iter().map(|&index| Asked { name: name(index), prompt: name(index) });
    names.chain(chosen.iter().map(|&index| Asked { name: name(index), prompt: held_out(index) })).collect()
}

/// The held-out prompts and their noises: round after round through the prompts, every image with a seed of its own.
struct HeldOut {
    /// Prompts.
    count: usize,
    /// Seed of the names' first image.
    seed: u64,
    /// From the first seed of one set to that of the next.
    spacing: u64,
}

impl HeldOut {
    /// Image `i` of a set; sets with different numbers share no seed.
    fn draw(&self, set: u64, i: usize) -> Draw {
        Draw { prompt: self.count + i % self.count, seed: self.seed + set * self.spacing + i as u64 }
    }

    /// Those of the names' images and of both sets.
    fn seeds(&self) -> Result<Range<u64>, TrainError> {
        let message = || format!("--seed {}: expected a number that leaves room for the seeds of all images above it", self.seed);
        let end = self.seed.checked_add(3 * self.spacing).ok_or_else(|| TrainError::new(TrainErrorKind::Usage, message()))?;
        Ok(self.seed..end)
    }
}

/// One artist's plan, and where the images of each measure will be.
struct Work {
    artist: Artist,
    plan: Plan,
    /// The set that is compared with the references.
    set: Vec<usize>,
    /// `NOISES` images of each of some prompts.
    diverse: Vec<usize>,
    /// These prompts, by their place among the held-out ones.
    diverse_prompts: Vec<usize>,
    /// Where this artist's images look for the real ones.
    retrieved: Option<Retrieved>,
    /// A student's images for pairs that it was trained on.
    known: Vec<usize>,
}

/// An image of every name, and the first of every held-out prompt.
struct Retrieved {
    names: Vec<usize>,
    held_out: Vec<usize>,
}

impl Work {
    fn new(artist: Artist, retrieves: bool, held_out: &HeldOut, samples: usize, diverse: usize) -> Self {
        let count = held_out.count;
        let mut plan = Plan::default();
        let set = plan.add((0..samples).map(|i| held_out.draw(1, i)));
        // The next rounds of the same seeds: what the set has already is not drawn again.
        let diverse_prompts: Vec<usize> = (0..diverse).map(|i| i * count / diverse).collect();
        let rounds = diverse_prompts.iter().flat_map(|&prompt| (0..NOISES).map(move |round| prompt + round * count));
        let diverse = plan.add(rounds.map(|i| held_out.draw(1, i)));
        let retrieved = retrieves.then(|| Retrieved {
            held_out: plan.add((0..count).map(|i| held_out.draw(1, i))),
            names: plan.add((0..count).map(|prompt| Draw { prompt, seed: held_out.seed + prompt as u64 })),
        });
        Self { artist, plan, set, diverse, diverse_prompts, retrieved, known: Vec::new() }
    }
}

/// Some of the pairs that the students were trained on, spread over the whole set.
struct KnownPairs {
    pairs: Pairs,
    chosen: Vec<usize>,
}

impl KnownPairs {
    /// # Errors
    /// Pairs that are damaged, or another teacher's.
    fn open(folder: &Path, teacher: &PipelineFolder, most: usize) -> Result<Self, TrainError> {
        let pairs = Pairs::open_of(folder, teacher)?;
        let all = pairs.seeds.len();
        let count = all.min(most.max(2));
        Ok(Self { chosen: (0..count).map(|place| place * all / count).collect(), pairs })
    }

    fn facts(&self) -> TrainedPairs {
        let made = &self.pairs.index.options;
        TrainedPairs { count: self.chosen.len(), steps: made.steps, guidance: made.guidance }
    }

    /// Refuses seeds of which some are those of pairs.
    fn keeps_out_of(&self, seeds: &Range<u64>) -> Result<(), TrainError> {
        let made = &self.pairs.index.options;
        let own = made.base_seed..made.base_seed.saturating_add(made.count);
        if own.start >= seeds.end || seeds.start >= own.end {
            return Ok(());
        }
        let message = format!(
            "--seed {}: images are drawn from seeds {} to {}, and the pairs that the students know from {} to {}; choose a seed outside",
            seeds.start,
            seeds.start,
            seeds.end - 1,
            own.start,
            own.end - 1
        );
        Err(TrainError::new(TrainErrorKind::Usage, message))
    }

    fn prompts(&self) -> impl Iterator<Item = &str> {
        self.chosen.iter().map(|&pair| self.pairs.index.prompts[self.pairs.rows[pair]].as_str())
    }

    fn seeds(&self) -> impl Iterator<Item = u64> {
        self.chosen.iter().map(|&pair| self.pairs.seeds[pair])
    }

    /// The teacher's latents [N,C,H,W], some at a time.
    fn latents<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = Tensor<4>> + 'a {
        self.chosen.chunks(TOGETHER).map(|chosen| self.pairs.targets(chosen, device))
    }
}

/// What every artist is compared with.
struct Reference {
    features: FeatureMatrix,
    gaussian: Gaussian,
}

impl Reference {
    fn new(features: FeatureMatrix) -> Self {
        Self { gaussian: Gaussian::of(&features), features }
    }

    fn measure(&self, drawn: &FeatureMatrix, seed: u64) -> SetMeasures {
        SetMeasures {
            frechet_distance: frechet_distance(&self.gaussian, &Gaussian::of(drawn)),
            kernel_distance: kernel_distance(&self.features, drawn, seed),
            manifold: manifold(&self.features, drawn),
        }
    }
}

/// One artist's set, for the comparison with another's image by image.
#[derive(Clone)]
struct DrawnSet {
    images: Vec<Vec<f32>>,
    features: FeatureMatrix,
    averages: FeatureMatrix,
}

impl DrawnSet {
    fn beside(&self, other: &Self) -> PairMeasures {
        PairMeasures {
            distance: mean_distance(&self.features, &other.features),
            averages: mean_distance(&self.averages, &other.averages),
            psnr: psnr(self.images.iter().zip(&other.images).map(|(a, b)| (a.as_slice(), b.as_slice()))),
        }
    }

    fn selected(&self, places: &[usize]) -> Self {
        Self {
            images: places.iter().map(|&place| self.images[place].clone()).collect(),
            features: self.features.select(places),
            averages: self.averages.select(places),
        }
    }
}

/// One artist's images on the page.
struct Shown {
    /// Whether it is the teacher that the others are compared with.
    is_main: bool,
    /// Held-out prompts of `set`, and of the groups of `diverse`.
    places: Vec<usize>,
    diverse_places: Vec<usize>,
    /// Images of the set at `places`.
    set: Vec<Vec<f32>>,
    /// `NOISES` images of each of the first prompts.
    diverse: Vec<Vec<f32>>,
}

impl Shown {
    fn new(work: &Work, is_main: bool, drawn: &Drawn, set: &[Vec<f32>], prompts: usize) -> Self {
        let places: Vec<usize> = page::columns(prompts).collect();
        Self {
            is_main,
            set: places.iter().map(|&place| set[place].clone()).collect(),
            places,
            diverse_places: work.diverse_prompts.clone(),
            diverse: drawn.select(&work.diverse[..work.diverse.len().min(DIVERSE_SHOWN * NOISES)]),
        }
    }
}

/// How often one of the `real` rows called `asked[i]` is the nearest to row i of `drawn`, and is among the nearest five.
fn retrieval(drawn: &FeatureMatrix, asked: &[&str], real: &FeatureMatrix, names: &[&str]) -> Retrieval {
    let mut hits = [0usize; 2];
    for (row, asked) in asked.iter().enumerate() {
        let squared = |other: usize| squared_distance(drawn.row(row), real.row(other));
        let (own, others): (Vec<usize>, Vec<usize>) = (0..real.rows()).partition(|&other| names[other] == *asked);
        let nearest = own.into_iter().map(squared).fold(f64::INFINITY, f64::min);
        let nearer = others.into_iter().filter(|&other| squared(other) < nearest).count();
        hits[0] += usize::from(nearest.is_finite() && nearer < 1);
        hits[1] += usize::from(nearest.is_finite() && nearer < 5);
    }
    Retrieval { top_1: hits[0] as f64 / asked.len() as f64, top_5: hits[1] as f64 / asked.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_image_of_the_name_counts() {
        let real = FeatureMatrix::new(1, vec![0.0, 10.0, 20.0, 21.0, 22.0, 23.0, 24.0]);
        let names = ["cat", "dog", "cat", "cow", "cow", "cow", "cow"];
        let found = retrieval(&FeatureMatrix::new(1, vec![19.0, 13.0, 30.0, 30.0]), &["cat", "dog", "cat", "dog"], &real, &names);
        assert_eq!((found.top_1, found.top_5), (0.5, 0.75));
    }

    #[test]
    fn a_run_is_called_by_its_own_name() {
        assert_eq!(folder_name(Path::new("runs/student/model")), "student");
        assert_eq!(folder_name(Path::new("runs/student")), "student");
        assert_eq!(folder_name(Path::new("model")), "model");
    }
}
