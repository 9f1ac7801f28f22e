//! Options of `eval`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pipeline_folder::ModelOptions;

/// Options of `eval`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// How the model is opened.
    pub model: ModelOptions,
    /// Run or model folders of the students, at least one.
    pub students: Vec<PathBuf>,
    /// The image folder.
    pub data: PathBuf,
    /// The pair set that the students were trained on; if given, they are also measured on its pairs.
    pub pairs: Option<PathBuf>,
    /// The folder that the evaluation writes.
    pub out: PathBuf,
    /// Feature network: the folder of an image classifier or of CLIP, or a file with Inception-v3; none for box-downsampled pixels.
    pub features: Option<PathBuf>,
    /// Number of image names to evaluate; 0 for all.
    pub count: usize,
    /// Images per generated set.
    pub samples: usize,
    /// Number of prompts for the diversity, with 8 noises each.
    pub diversity_prompts: usize,
    /// Solver steps of the teacher that the students are compared with.
    pub steps: usize,
    /// Further numbers of solver steps at which the teacher is evaluated.
    pub teacher_steps: Vec<usize>,
    /// Guidance scale of the teacher.
    pub guidance: f64,
    /// First noise seed.
    pub seed: u64,
    /// Names in `grid.png`; empty for all.
    pub grid_names: Vec<String>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            teacher: PathBuf::new(),
            model: ModelOptions::default(),
            students: Vec::new(),
            data: PathBuf::new(),
            pairs: None,
            out: PathBuf::new(),
            features: None,
            count: 0,
            samples: 512,
            diversity_prompts: 16,
            steps: 50,
            teacher_steps: vec![1, 2, 4, 8, 50],
            guidance: 2.0,
            seed: 10_000,
            grid_names: Vec::new(),
        }
    }
}

/// A short name for a run or model folder: that of the run, because its model folder is always called `model`.
pub(super) fn folder_name(folder: &Path) -> String {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match last(folder) {
        Some(name) if name == "model" => folder.parent().and_then(last).unwrap_or(name),
        Some(name) => name,
        None => folder.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_folder_has_the_name_of_its_run() {
        assert_eq!(folder_name(Path::new("runs/student/model")), "student");
        assert_eq!(folder_name(Path::new("runs/student")), "student");
        assert_eq!(folder_name(Path::new("model")), "model");
    }
}
