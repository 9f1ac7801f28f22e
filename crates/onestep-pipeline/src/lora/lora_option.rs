//! The option `--lora FILE[:WEIGHT]`.

use std::path::{Path, PathBuf};

use super::LoraError;

/// A LoRA file and how much of it is merged.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraOption {
    /// The file.
    pub path: PathBuf,
    /// Factor of the change, 1 by default; negative factors turn it round.
    pub weight: f64,
}

impl LoraOption {
    /// Parses `FILE[:WEIGHT]`, where `is_file` says whether a path is a file.
    ///
    /// What exists under the whole text is the file, also if its name has a colon. Otherwise the number behind the last
    /// colon is the weight. A colon with no number behind it belongs to the path, as in `C:\loras\a.safetensors`.
    ///
    /// # Errors
    /// An empty path, nothing behind the colon, a weight that is no finite number.
    pub fn parse(option: &str, is_file: impl Fn(&Path) -> bool) -> Result<Self, LoraError> {
        let refuse = |reason: &str| Err(LoraError::Option { option: option.to_owned(), reason: reason.to_owned() });
        let whole = Path::new(option);
        let Some((path, weight)) = option.rsplit_once(':').filter(|_| !is_file(whole)) else {
            return if option.is_empty() { refuse("names no file") } else { Ok(Self { path: whole.to_owned(), weight: 1.0 }) };
        };
        match weight.trim().parse::<f64>() {
            _ if path.is_empty() => refuse("names no file"),
            Ok(weight) if weight.is_finite() => Ok(Self { path: path.into(), weight }),
            Ok(_) => refuse("has a weight that is not finite"),
            Err(_) if weight.trim().is_empty() => refuse("has no weight behind the colon"),
            Err(_) if is_file(Path::new(path)) => refuse(&format!("has the weight {weight:?}, which is no number")),
            Err(_) => Ok(Self { path: whole.to_owned(), weight: 1.0 }),
        }
    }
}
