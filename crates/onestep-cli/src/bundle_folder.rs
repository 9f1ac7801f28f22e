//! Bundles on disk.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onestep::{Backend, Model, Noise};
use onestep_program::{Bundle, BundleError, FileEntry, FileUse, ReadAt, TensorRef, limits, manifest};

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

/// Verifies a bundle. Its weights stay in their files and are read when they are needed.
///
/// # Errors
/// The file at fault and what is wrong with it.
pub fn open(folder: &Path) -> Result<Bundle, Failure> {
    let manifest_bytes = read(folder, manifest::FILE_NAME, limits::MANIFEST_BYTES.max)?;
    let fetch = |entry: &FileEntry| read(folder, &entry.name, entry.size).map_err(Refused);
    Bundle::open_stored(&manifest_bytes, fetch, |entry| stored(folder, entry))
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
    let has_two_encoders = bundle.manifest().tokenizer_2.is_some();
    let mut model = pollster::block_on(Model::open(bundle, Backend::Cpu, &mut Clock::new()))?;
    let noise = Noise::Seed(0).values(&generation.latent)?;
    let ids = vec![0; generation.prompt_tokens];
    let mut run = |component: &str, inputs: &[(&str, TensorRef<'_>)]| {
        let outputs = pollster::block_on(model.run(component, inputs))?;
        match outputs.iter().find(|(_, values)| values.iter().any(|value| !value.is_finite())) {
            None => Ok(outputs),
            Some((output, _)) => Err(Failure::new(Exit::NonFinite, format!("{component}: {output} of one image holds NaN or an infinite value"))),
        }
    };
    let mut text = vec![("input_ids", TensorRef::I32(&ids))];
    let one_hot: Vec<f32> = (0..ids.len()).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
    if has_two_encoders {
        text.extend([("input_ids_2", TensorRef::I32(&ids)), ("end_of_text", TensorRef::F32(&one_hot))]);
    }
    let states = run("text_encoder", &text)?;
    let mut inputs = vec![("noise", TensorRef::F32(&noise))];
    // A single encoder calls them last_hidden_state.
    let input = |output: &str| if output == "text_embeds" { "text_embeds" } else { "encoder_hidden_states" };
    inputs.extend(states.iter().map(|(output, values)| (input(output), TensorRef::F32(values))));
    let latents = run("generator", &inputs)?.swap_remove(0).1;
    run("decoder", &[("latents", TensorRef::F32(&latents))])?;
    Ok(SmokeTest::Finite)
}

/// A weight file of a bundle.
struct StoredFile(File);

impl ReadAt for StoredFile {
    fn read_at(&self, start: u64, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        read_exact_at(&self.0, &mut bytes, start).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytes)
}

/// Opens a listed weight file after comparing its size with its entry.
fn stored(folder: &Path, entry: &FileEntry) -> Result<Arc<dyn ReadAt>, Refused> {
    let (file, size) = onestep_store::open(&folder.join(&entry.name)).map_err(|error| Refused(error.into()))?;
    entry.verify_size(size)?;
    Ok(Arc::new(StoredFile(file)))
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
