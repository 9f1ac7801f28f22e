//! Bundles on disk.

use std::fmt;
use std::path::{Path, PathBuf};

use onestep::{Backend, Model, Noise};
use onestep_program::{Bundle, BundleError, FileEntry, FileUse, TensorRef, limits, manifest};

use crate::clock::Clock;
use crate::exit::{Exit, Failure};

/// Where to look for a bundle if none is given: in the working folder, then next to the program.
const DEFAULT_FOLDERS: [&str; 2] = ["models/emoji", "bundle"];

/// The folder of the bundle to use.
///
/// # Errors
/// There is no bundle in the given folder, or in any of the default folders.
pub fn find(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let has_manifest = |folder: &Path| folder.join(manifest::FILE_NAME).is_file();
    if let Some(folder) = given {
        if has_manifest(folder) {
            return Ok(folder.to_owned());
        }
        let found = if folder.is_dir() { format!("the folder has no {}", manifest::FILE_NAME) } else { "there is no such folder".into() };
        return Err(Failure::new(
            Exit::Input,
            format!("opening the bundle {}: {found}; give the folder that `onestep export` wrote", folder.display()),
        ));
    }
    let program_folder = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let roots = [Some(PathBuf::new()), program_folder.clone(), program_folder.and_then(|folder| Some(folder.parent()?.parent()?.to_owned()))];
    let folders = roots.into_iter().flatten().flat_map(|root| DEFAULT_FOLDERS.map(|folder| root.join(folder)));
    folders.into_iter().find(|folder| has_manifest(folder)).ok_or_else(|| {
        Failure::new(
            Exit::Input,
            format!("no bundle in {}, here or next to the program; name its folder with --bundle", DEFAULT_FOLDERS.join(" or ")),
        )
    })
}

/// Reads and verifies a bundle.
///
/// # Errors
/// The file at fault and what is wrong with it.
pub fn open(folder: &Path) -> Result<Bundle, Failure> {
    let manifest_bytes = read(folder, manifest::FILE_NAME, limits::MANIFEST_BYTES.max)?;
    Bundle::open(&manifest_bytes, |entry: &FileEntry| read(folder, &entry.name, entry.size).map_err(Refused))
        .and_then(|bundle| others_verified(folder, bundle))
        .map_err(|Refused(failure)| opening(folder, &failure))
}

/// Compares the files that no reader needs, such as a sample image, with their hashes.
fn others_verified(folder: &Path, bundle: Bundle) -> Result<Bundle, Refused> {
    for (_, entry) in bundle.manifest().files_by_use().filter(|(file_use, _)| *file_use == FileUse::Extra) {
        entry.verify(&read(folder, &entry.name, entry.size).map_err(Refused)?)?;
    }
    Ok(bundle)
}

/// Checks of a bundle what `generate` would check before it runs: the programs' ports, the tokenizer, and that both fit the manifest.
///
/// # Errors
/// The file at fault and what is wrong with it.
pub fn check(folder: &Path, bundle: &Bundle) -> Result<(), Failure> {
    onestep::check_bundle(bundle.outline()).map_err(|error| opening(folder, &error.into()))
}

/// Prepares a bundle that [`open`] read for a backend.
///
/// # Errors
/// Those of [`check`]; a device that is missing, or has too little memory.
pub fn open_model(folder: &Path, bundle: Bundle, backend: Backend, clock: &mut Clock) -> Result<Model, Failure> {
    pollster::block_on(Model::open(bundle, backend, clock)).map_err(|error| opening(folder, &error.into()))
}

/// A failure with the bundle that was being opened.
fn opening(folder: &Path, failure: &Failure) -> Failure {
    Failure::new(failure.exit(), format!("opening the bundle {}: {}", folder.display(), failure.message()))
}

/// Larger programs are not run by [`smoke_test`]: this many floating-point operations take a second or two on one CPU core.
const SMOKE_TEST_FLOPS: u64 = 20_000_000_000;

/// The outcome of [`smoke_test`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmokeTest {
    /// One image was computed on the CPU, all of its values finite.
    Finite,
    /// The programs have more than [`SMOKE_TEST_FLOPS`].
    Skipped {
        /// Their floating-point operations.
        flops: u64,
    },
}

impl fmt::Display for SmokeTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite => f.write_str("one image computed on the CPU: all values finite"),
            Self::Skipped { flops } => write!(f, "no image computed: {:.0} GFLOP are more than a quick check", *flops as f64 / 1e9),
        }
    }
}

/// Runs the three programs of a small bundle that passed [`check`] once, on the CPU, and checks that what they compute is finite.
///
/// # Errors
/// A program that cannot be run; [`Exit::NonFinite`], naming the component.
pub fn smoke_test(bundle: Bundle) -> Result<SmokeTest, Failure> {
    let flops = bundle.programs().values().map(|program| program.flops()).fold(0, u64::saturating_add);
    if flops > SMOKE_TEST_FLOPS {
        return Ok(SmokeTest::Skipped { flops });
    }
    let generation = bundle.manifest().generation.clone();
    let mut model = pollster::block_on(Model::open(bundle, Backend::Cpu, &mut Clock::new()))?;
    let noise = Noise::Seed(0).values(&generation.latent)?;
    let ids = vec![0; generation.prompt_tokens];
    // Each has one output, which `check` has seen.
    let mut run = |component: &str, inputs: &[(&str, TensorRef<'_>)]| {
        let (output, values) = pollster::block_on(model.run(component, inputs))?.swap_remove(0);
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(Failure::new(Exit::NonFinite, format!("{component}: {output} of one image holds NaN or an infinite value")))
    };
    let states = run("text_encoder", &[("input_ids", TensorRef::I32(&ids))])?;
    let latents = run("generator", &[("noise", TensorRef::F32(&noise)), ("encoder_hidden_states", TensorRef::F32(&states))])?;
    run("decoder", &[("latents", TensorRef::F32(&latents))])?;
    Ok(SmokeTest::Finite)
}

struct Refused(Failure);

impl From<BundleError> for Refused {
    fn from(error: BundleError) -> Self {
        Self(Failure::new(Exit::Input, error.to_string()))
    }
}

/// A file that is no larger than it may be; one that is too large is not read.
fn read(folder: &Path, name: &str, most: u64) -> Result<Vec<u8>, Failure> {
    Ok(onestep_store::read_at_most(&folder.join(name), most)?)
}
