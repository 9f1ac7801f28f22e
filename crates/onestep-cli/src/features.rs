//! What this program was built with.

/// The names of the commands that need the feature `train`.
pub const TRAINING_COMMANDS: [&str; 8] = ["data", "train", "sample", "pairs", "distil", "eval", "export", "debug"];

/// How to get the commands of [`TRAINING_COMMANDS`] where they are missing.
pub const WITHOUT_TRAINING: &str = "this program was built without training; build one with it by `cargo install onestep-cli --features train`, or in \
                                    a clone of the repository by `cargo build --release -p onestep-cli --features train`";

/// The features of this build, by name.
pub fn compiled() -> Vec<&'static str> {
    [
        ("train", cfg!(feature = "train")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("cuda", cfg!(feature = "cuda")),
        ("libtorch", cfg!(feature = "libtorch")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect()
}
