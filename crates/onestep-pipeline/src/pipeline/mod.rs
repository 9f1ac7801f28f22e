//! Opens a model and checks that its parts fit.

mod check;
mod component;
mod file;
mod folder;
mod index;
mod lora_overlay;
mod open;
mod sizes;
mod tokenizer_files;

pub use check::Use;
pub use component::{Component, ComponentClass, ComponentConfig};
pub use folder::Source;
pub use index::model_index;
pub use open::{Layout, OpenOptions, Pipeline};
pub use sizes::{ImageSize, Sizes};
pub use tokenizer_files::TokenizerFiles;
