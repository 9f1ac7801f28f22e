//! The images that an evaluation needs from each model, and the images that each measure takes.

use std::collections::BTreeMap;

use super::{
    options::EvaluateOptions,
    prepare::{Inputs, Prompts},
    seeds::{ImageRequest, NOISES, SeedBlock},
};

/// A model of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvaluatedModel {
    /// The teacher with this number of solver steps.
    Teacher {
        /// Solver steps.
        steps: usize,
    },
    /// The student with this index among the options' students, in one step.
    Student(usize),
}

impl EvaluatedModel {
    pub fn is_student(self) -> bool {
        matches!(self, Self::Student(_))
    }

    /// Steps of the ODE solver.
    pub fn steps(self) -> usize {
        match self {
            Self::Teacher { steps } => steps,
            Self::Student(_) => 1,
        }
    }
}

impl std::fmt::Display for EvaluatedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Student(_) => f.write_str("student"),
            Self::Teacher { steps } => write!(f, "teacher, {steps} steps"),
        }
    }
}

/// The images that one model generates. Equal requests share one image.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestList {
    requests: Vec<ImageRequest>,
    indices: BTreeMap<ImageRequest, usize>,
}

impl RequestList {
    /// Adds requests; returns the index of each image in the generated list.
    pub fn add(&mut self, requests: impl Iterator<Item = ImageRequest>) -> Vec<usize> {
        requests
            .map(|request| {
                *self.indices.entry(request).or_insert_with(|| {
                    self.requests.push(request);
                    self.requests.len() - 1
                })
            })
            .collect()
    }

    /// The distinct requests in the order of their images.
    pub fn requests(&self) -> &[ImageRequest] {
        &self.requests
    }
}

/// All images of an evaluation.
pub(super) struct EvaluationPlan {
    /// The teacher at the options' `steps`: the model that the others are compared with.
    pub teacher: EvaluatedModel,
    /// The teacher's reference set.
    pub reference: RequestList,
    /// Its images, by index.
    pub reference_images: Vec<usize>,
    /// Every model's images; `teacher` comes first.
    pub models: Vec<ModelRequests>,
}

impl EvaluationPlan {
    pub fn new(options: &EvaluateOptions, inputs: &Inputs, prompts: &Prompts<'_>) -> Self {
        let teacher = EvaluatedModel::Teacher { steps: options.steps };
        let mut reference = RequestList::default();
        let reference_images = reference.add((0..inputs.samples).map(|index| prompts.held_out(inputs.seeds, SeedBlock::TeacherReference, index)));
        let mut other_steps = options.teacher_steps.clone();
        other_steps.retain(|&steps| steps != options.steps);
        other_steps.sort_unstable();
        other_steps.dedup();
        let models = std::iter::once(teacher)
            .chain(other_steps.into_iter().map(|steps| EvaluatedModel::Teacher { steps }))
            .chain((0..inputs.students.len()).map(EvaluatedModel::Student))
            .map(|model| ModelRequests::new(model, model == teacher || model.is_student(), inputs, prompts))
            .collect();
        Self { teacher, reference, reference_images, models }
    }

    /// The images of each model, the reference set included.
    pub fn lists(&self) -> Vec<(EvaluatedModel, &RequestList)> {
        let models = self.models.iter().map(|requests| (requests.model, &requests.list));
        std::iter::once((self.teacher, &self.reference)).chain(models).collect()
    }
}

/// The images that one model generates, and for each measure their indices.
pub(super) struct ModelRequests {
    pub model: EvaluatedModel,
    pub list: RequestList,
    /// The set that is compared with the references.
    pub set: Vec<usize>,
    /// [`NOISES`] images for each of `diversity_prompts`.
    pub diversity: Vec<usize>,
    /// Indices of held-out prompts.
    pub diversity_prompts: Vec<usize>,
    pub retrieval: Option<RetrievalRequests>,
    /// A student's images for its training pairs; empty for the teacher.
    pub training_pairs: Vec<usize>,
}

/// Queries of the retrieval: one image for each name, and the first image for each held-out prompt.
pub(super) struct RetrievalRequests {
    pub names: Vec<usize>,
    pub held_out: Vec<usize>,
}

impl ModelRequests {
    fn new(model: EvaluatedModel, retrieves: bool, inputs: &Inputs, prompts: &Prompts<'_>) -> Self {
        let (count, seeds) = (prompts.names, inputs.seeds);
        let held_out = |index: usize| prompts.held_out(seeds, SeedBlock::HeldOut, index);
        let mut list = RequestList::default();
        let set = list.add((0..inputs.samples).map(held_out));
        // Image `prompt + round * count` of the block has this prompt, so the images that the set already holds are shared.
        let diversity_prompts: Vec<usize> = (0..inputs.diversity_prompts).map(|i| i * count / inputs.diversity_prompts).collect();
        let rounds = diversity_prompts.iter().flat_map(|&prompt| (0..NOISES).map(move |round| prompt + round * count));
        let diversity = list.add(rounds.map(held_out));
        let retrieval = retrieves.then(|| RetrievalRequests {
            held_out: list.add((0..count).map(held_out)),
            names: list.add((0..count).map(|name| ImageRequest { prompt: name, seed: seeds.seed(SeedBlock::Names, name) })),
        });
        let training_pairs = match &inputs.training_pairs {
            Some(pairs) if model.is_student() => {
                list.add(pairs.seeds().enumerate().map(|(pair, seed)| ImageRequest { prompt: prompts.training_pair(pair), seed }))
            }
            _ => Vec::new(),
        };
        Self { model, list, set, diversity, diversity_prompts, retrieval, training_pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_have_one_image() {
        let mut list = RequestList::default();
        let request = |prompt, seed| ImageRequest { prompt, seed };
        assert_eq!(list.add([request(0, 5), request(1, 5), request(0, 5)].into_iter()), [0, 1, 0]);
        assert_eq!(list.add([request(0, 6), request(1, 5)].into_iter()), [2, 1]);
        assert_eq!(list.requests(), [request(0, 5), request(1, 5), request(0, 6)]);
    }
}
