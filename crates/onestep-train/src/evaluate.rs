//! `eval`: student at one step beside its teacher at many, on prompts and noises that neither saw.
//!
//! - *PSNR*: 10·log₁₀(4/MSE) over pictures in −1…1.
//! - *Feature distance*: Euclidean distance between pictures averaged down to 16×16 RGB in −1…1, divided by √(16·16·3): a root mean square error
//!   that forgives fine detail. It is also what retrieval compares.
//! - *Retrieval*: a picture is drawn for each name; the real pictures are ordered by that distance to it; top-k says how often the named one is among the first k.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    data::PictureFolder,
    error::{TrainError, TrainErrorKind},
    observer::Observer,
    picture_grid::{PictureGrid, rgb},
    pipeline_folder::PipelineFolder,
    run_folder::model_of,
    sampler::{Sampler, encode_prompts, noises, one_step},
    store,
};

/// Options of `eval`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// Run or model folder of the student.
    pub student: PathBuf,
    /// The picture folder.
    pub data: PathBuf,
    /// Where report and grids go.
    pub out: PathBuf,
    /// Names to draw; 0 for all.
    pub count: usize,
    /// Held-out phrasings on which student and teacher are compared.
    pub compared: usize,
    /// Steps of the teacher.
    pub steps: usize,
    /// Guidance of the teacher.
    pub guidance: f64,
    /// Seed of the first picture.
    pub seed: u64,
    /// Names shown in the grid.
    pub shown: Vec<String>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            teacher: PathBuf::new(),
            student: PathBuf::new(),
            data: PathBuf::new(),
            out: PathBuf::new(),
            count: 0,
            compared: 64,
            steps: 50,
            guidance: 2.0,
            seed: 10_000,
            shown: Vec::new(),
        }
    }
}

/// How often the right picture came among the first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Retrieval {
    /// Share of names whose picture came first.
    pub top_1: f64,
    /// Share of names whose picture was among the first five.
    pub top_5: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Names drawn.
    pub names: usize,
    /// Held-out phrasings on which student and teacher are compared.
    pub compared: usize,
    /// Steps of the teacher.
    pub teacher_steps: usize,
    /// Guidance of the teacher.
    pub guidance: f64,
    /// Student ↔ teacher, held-out prompts, same noise.
    pub student_teacher_psnr: f64,
    /// The same as feature distance.
    pub student_teacher_distance: f64,
    /// Teacher ↔ teacher, same held-out prompt, two noises.
    pub two_noises_psnr: f64,
    /// The same as feature distance.
    pub two_noises_distance: f64,
    /// Teacher ↔ teacher, different prompts.
    pub unrelated_psnr: f64,
    /// The same as feature distance.
    pub unrelated_distance: f64,
    /// Of the real pictures, by the teacher's.
    pub teacher_retrieval: Retrieval,
    /// Of the real pictures, by the student's.
    pub student_retrieval: Retrieval,
    /// The same by the student's, with held-out phrasings as prompts.
    pub student_retrieval_held_out: Retrieval,
}

/// Pictures drawn together.
const TOGETHER: usize = 32;
/// Side of the averaged pictures that features are.
const FEATURE_SIDE: usize = 16;

/// Measures and writes `report.json` and `grid.png` (rows: real, teacher, student).
///
/// # Errors
/// Models or data that cannot be read, storage, interruption.
pub fn evaluate(options: &EvaluateOptions, device: &Device, observer: &mut dyn Observer) -> Result<Report, TrainError> {
    let (teacher, student) = (PipelineFolder::open(&model_of(&options.teacher)?)?, PipelineFolder::open(&model_of(&options.student)?)?);
    let sizes = teacher.sizes()?;
    let pictures = PictureFolder::open(&options.data, sizes.picture)?;
    let (teacher_net, student_net, vae) = (teacher.unet(device)?, student.unet(device)?, teacher.vae(device)?);
    let (text_encoder, tokenizer, schedule) = (teacher.text_encoder(device)?, teacher.tokenizer()?, teacher.schedule()?);
    let sampler = Sampler { unet: &teacher_net, schedule: &schedule, steps: options.steps, guidance: options.guidance };
    let empty = encode_prompts(&text_encoder, &tokenizer, &[""], device)?;
    let count = if options.count == 0 { pictures.len() } else { options.count.min(pictures.len()) };
    if count < 2 || pictures.size() % FEATURE_SIDE != 0 {
        return Err(TrainError::input(format!(
            "evaluation takes at least 2 pictures whose side is a multiple of {FEATURE_SIDE}; {} has {count} of {}",
            options.data.display(),
            pictures.size()
        )));
    }
    let chosen: Vec<usize> = (0..count).map(|i| i * pictures.len() / count).collect();
    let names: Vec<&str> = chosen.iter().map(|&index| pictures.entries()[index].text.as_str()).collect();
    let held_out: Vec<&str> = chosen
        .iter()
        .map(|&index| pictures.held_out_prompts(index).first().map_or(pictures.entries()[index].text.as_str(), String::as_str))
        .collect();

    // Pictures of names by both, of held-out phrasings by both where they are compared, and there by the teacher from a second noise.
    let size = sizes.picture;
    let mut draw = |what: &str, prompts: &[&str], first_seed: u64, by_teacher: bool, by_student: bool| -> Result<[Vec<Vec<f32>>; 2], TrainError> {
        observer.begin(what, prompts.len() as u64, 0);
        let mut drawn = [Vec::new(), Vec::new()];
        for (chunk, prompts) in prompts.chunks(TOGETHER).enumerate() {
            let seeds: Vec<u64> = (0..prompts.len() as u64).map(|i| first_seed + (chunk * TOGETHER) as u64 + i).collect();
            let condition = encode_prompts(&text_encoder, &tokenizer, prompts, device)?;
            let z = noises(&seeds, sizes.latent, device);
            let picture = |latents: Tensor<4>| {
                let data = vae.decode(vae.from_model_space(latents)).clamp(-1.0, 1.0).to_data().try_to_vec::<f32>().unwrap_or_default();
                data.chunks(3 * size * size).map(<[f32]>::to_vec).collect::<Vec<_>>()
            };
            if by_teacher {
                let latents = sampler
                    .latents(z.clone(), condition.clone(), &empty)
                    .map_err(|error| TrainError::new(TrainErrorKind::Usage, error.to_string()))?;
                drawn[0].extend(picture(latents));
            }
            if by_student {
                drawn[1].extend(picture(one_step(&student_net, &schedule, z, condition)));
            }
            observer.step((chunk * TOGETHER + prompts.len()) as u64, "");
            if observer.stopped() {
                return Err(TrainError::new(TrainErrorKind::Interrupted, "stopped; nothing was written"));
            }
        }
        Ok(drawn)
    };
    let seed = options.seed;
    let [teacher_names, student_names] = draw("drawing names", &names, seed, true, true)?;
    let [_, student_held] = draw("drawing held-out phrasings", &held_out, seed + 100_000, false, true)?;
    let compared = options.compared.clamp(2, count);
    let [teacher_held, _] = draw("drawing held-out phrasings", &held_out[..compared], seed + 100_000, true, false)?;
    let [teacher_again, _] = draw("drawing with a second noise", &held_out[..compared], seed + 200_000, true, false)?;

    let real: Vec<Vec<f32>> = (0..pictures.len()).map(|index| features(pictures.pixels(index), size)).collect();
    let retrieval = |drawn: &[Vec<f32>]| {
        let mut hits = [0usize; 2];
        for (picture, &index) in drawn.iter().zip(&chosen) {
            let picture = features(picture, size);
            let own = distance(&picture, &real[index]);
            let nearer = real.iter().filter(|other| distance(&picture, other) < own).count();
            hits[0] += usize::from(nearer < 1);
            hits[1] += usize::from(nearer < 5);
        }
        Retrieval { top_1: hits[0] as f64 / count as f64, top_5: hits[1] as f64 / count as f64 }
    };
    let compare = |a: &[Vec<f32>], b: &[Vec<f32>], shift: usize| {
        let pairs = || (0..compared).map(|i| (&a[i], &b[(i + shift) % compared]));
        let error =
            pairs().map(|(a, b)| a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>() / a.len() as f64).sum::<f64>() / compared as f64;
        let apart = pairs().map(|(a, b)| distance(&features(a, size), &features(b, size))).sum::<f64>() / compared as f64;
        (10.0 * (4.0 / error).log10(), apart)
    };
    let student_teacher = compare(&student_held, &teacher_held, 0);
    let two_noises = compare(&teacher_held, &teacher_again, 0);
    let unrelated = compare(&teacher_held, &teacher_held, 1);
    let report = Report {
        names: count,
        compared,
        teacher_steps: options.steps,
        guidance: options.guidance,
        student_teacher_psnr: student_teacher.0,
        student_teacher_distance: student_teacher.1,
        two_noises_psnr: two_noises.0,
        two_noises_distance: two_noises.1,
        unrelated_psnr: unrelated.0,
        unrelated_distance: unrelated.1,
        teacher_retrieval: retrieval(&teacher_names),
        student_retrieval: retrieval(&student_names),
        student_retrieval_held_out: retrieval(&student_held),
    };
    store::create_folder(&options.out)?;
    store::write(&options.out.join("report.json"), &serde_json::to_vec_pretty(&report).unwrap_or_default())?;
    let shown: Vec<usize> = if options.shown.is_empty() {
        (0..count).collect()
    } else {
        (0..count).filter(|&i| options.shown.iter().any(|name| name == names[i])).collect()
    };
    let bytes = |pictures: &[Vec<f32>], shown: &[usize]| {
        shown
            .iter()
            .flat_map(|&i| rgb(&Tensor::from_data(burn::tensor::TensorData::new(pictures[i].clone(), [1, 3, size, size]), device)))
            .collect::<Vec<_>>()
    };
    let real_pictures: Vec<Vec<f32>> = chosen.iter().map(|&index| pictures.pixels(index).to_vec()).collect();
    let mut grid = PictureGrid::new(size);
    for shown in shown.chunks(16) {
        for set in [&real_pictures, &teacher_names, &student_names] {
            grid.rgb_row(bytes(set, shown));
        }
    }
    grid.write(&options.out.join("grid.png"))?;
    Ok(report)
}

/// A picture [3,size,size] averaged down to 16×16.
fn features(picture: &[f32], size: usize) -> Vec<f32> {
    let block = size / FEATURE_SIDE;
    let mut features = vec![0.0; 3 * FEATURE_SIDE * FEATURE_SIDE];
    for (index, &value) in picture.iter().enumerate() {
        let (channel, y, x) = (index / (size * size), index / size % size, index % size);
        features[(channel * FEATURE_SIDE + y / block) * FEATURE_SIDE + x / block] += value / (block * block) as f32;
    }
    features
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    (a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}
