//! Bundles on disk.

use std::fs;
use std::path::{Path, PathBuf};

use onestep_program::{Bundle, BundleError, FileEntry, limits, manifest};

use crate::exit::{Exit, Failure};

/// Where a bundle is looked for when none is given: in the working folder, then beside the program.
const PLACES: [&str; 2] = ["models/emoji", "bundle"];

/// The folder of the bundle to use.
///
/// # Errors
/// No bundle is where it was said to be, or in any of the usual places.
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
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let roots = [Some(PathBuf::new()), beside.clone(), beside.and_then(|folder| Some(folder.parent()?.parent()?.to_owned()))];
    let places = roots.into_iter().flatten().flat_map(|root| PLACES.map(|place| root.join(place)));
    places.into_iter().find(|place| has_manifest(place)).ok_or_else(|| {
        Failure::new(Exit::Input, format!("no bundle in {}, here or beside the program; name its folder with --bundle", PLACES.join(" or ")))
    })
}

/// Reads and verifies a bundle.
///
/// # Errors
/// The file at fault and what is wrong with it.
pub fn open(folder: &Path) -> Result<Bundle, Failure> {
    let manifest_bytes = read(folder, manifest::FILE_NAME, limits::MANIFEST_BYTES.max)?;
    Bundle::open(&manifest_bytes, |entry: &FileEntry| read(folder, &entry.name, entry.size).map_err(Refused))
        .map_err(|Refused(failure)| Failure::new(failure.exit(), format!("opening the bundle {}: {}", folder.display(), failure.message())))
}

struct Refused(Failure);

impl From<BundleError> for Refused {
    fn from(error: BundleError) -> Self {
        Self(Failure::new(Exit::Input, error.to_string()))
    }
}

/// A file that is no larger than it may be; one that is too large is not read.
fn read(folder: &Path, name: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let path = folder.join(name);
    let refuse = |reason: String| Failure::new(Exit::Input, format!("{name}: {reason}"));
    let size = fs::metadata(&path).map_err(|error| refuse(format!("cannot be read ({error})")))?.len();
    if size > most {
        return Err(refuse(format!("{size} bytes, expected at most {most}; fetch the file again")));
    }
    fs::read(&path).map_err(|error| refuse(format!("cannot be read ({error})")))
}
