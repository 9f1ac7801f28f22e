//! The error of loading weights.

use onestep_program::printable;
use thiserror::Error;

/// Largest number of tensors that an error message names.
const NAMED: usize = 12;

/// Weights that do not fit the module, or bytes that are not weights.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A file that is not a valid safetensors file.
    #[error("{file}: {reason}")]
    Container {
        /// The name of the file.
        file: String,
        /// What is wrong, naming the tensor if there is one.
        reason: String,
    },
    /// Two tensors of the same name.
    #[error("the tensor {name} is given twice{}", where_twice(.files))]
    Duplicate {
        /// Its name.
        name: String,
        /// The two files; none if the tensors are not from files.
        files: Vec<String>,
    },
    /// Tensors that do not fit, every one of them.
    #[error("{}", listed(.files, .problems))]
    Tensors {
        /// The files that were read; none if the tensors are not from files.
        files: Vec<String>,
        /// What does not fit.
        problems: Vec<TensorProblem>,
    },
}

/// One tensor that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorProblem {
    /// The module has it, the weights do not.
    #[error("{name} {shape:?} is missing")]
    Missing {
        /// Its name.
        name: String,
        /// The shape it should have, in diffusers' layout.
        shape: Vec<usize>,
    },
    /// The weights have it, the module does not.
    #[error("{name} is surplus")]
    Surplus {
        /// Its name.
        name: String,
        /// The file that has it; empty if there is none.
        file: String,
    },
    /// The shapes differ.
    #[error("{name} has shape {found:?} instead of {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What the module has.
        expected: Vec<usize>,
        /// What the weights have.
        found: Vec<usize>,
        /// The file that has it; empty if there is none.
        file: String,
    },
    /// Elements of a type that is not read, or a number of elements that the shape does not explain.
    #[error("{name} cannot be read: {reason}")]
    Data {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
        /// The file that has it; empty if there is none.
        file: String,
    },
    /// An element that is NaN or infinite.
    #[error("{name} has the value {value} at {position:?}, where weights must be finite")]
    NotFinite {
        /// Its name.
        name: String,
        /// The first such element, as text.
        value: String,
        /// Its index along each axis, in diffusers' layout.
        position: Vec<usize>,
        /// The file that has it; empty if there is none.
        file: String,
    },
}

impl TensorProblem {
    /// The file that has the tensor.
    fn file(&self) -> Option<&str> {
        let (Self::Surplus { file, .. } | Self::Shape { file, .. } | Self::Data { file, .. } | Self::NotFinite { file, .. }) = self else {
            return None;
        };
        Some(file).filter(|file| !file.is_empty()).map(String::as_str)
    }
}

fn where_twice(files: &[String]) -> String {
    if files.is_empty() { String::new() } else { format!(": in {}", files.join(" and in ")) }
}

fn listed(files: &[String], problems: &[TensorProblem]) -> String {
    let told = |problem: &TensorProblem| match problem.file() {
        Some(file) if files.len() > 1 => format!("{problem} ({file})"),
        _ => problem.to_string(),
    };
    let mut text: Vec<String> = problems.iter().take(NAMED).map(told).collect();
    if problems.len() > NAMED {
        text.push(format!("and {} more", problems.len() - NAMED));
    }
    let names = match files {
        [] => String::new(),
        [file] => format!("{file}: "),
        [first, others @ ..] => format!("{first} and {} more: ", others.len()),
    };
    printable(&format!("{names}the weights do not fit: {}", text.join("; "))).into_owned()
}
