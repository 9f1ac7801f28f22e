//! Shared by the suites: the path of the repository, and the similarity of two images.

use std::path::{Path, PathBuf};

/// The path of the repository, from cargo's environment, because a test may have been built for another clone with the same target folder.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from);
    here.parent().unwrap_or(Path::new(".")).to_owned()
}

/// Peak signal-to-noise ratio of two equally large 8-bit images in dB: 10·log₁₀(255²/MSE); infinite for equal ones.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len(), "images of one size");
    let error = a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum::<f64>() / a.len() as f64;
    10.0 * (255.0f64.powi(2) / error).log10()
}
