//! Refuses to write a result over its sources.

use std::path::{Component, Path, PathBuf};

use crate::error::{StoreError, StoreErrorKind};

/// Refuses a destination that is one of the sources, contains one (and would remove it when it is replaced), or is inside one (and would change
/// it). Sources that do not exist are ignored, because reading them reports that.
///
/// # Errors
/// [`StoreErrorKind::Destination`].
pub fn refuse_overlap(what: &str, destination: &Path, sources: &[&Path]) -> Result<(), StoreError> {
    let out = resolved(destination);
    for source in sources.iter().filter(|source| !source.as_os_str().is_empty()) {
        let Ok(real) = source.canonicalize() else { continue };
        let relation = if real == out {
            "it is"
        } else if real.starts_with(&out) {
            "it contains"
        } else if out.starts_with(&real) {
            "it is inside"
        } else {
            continue;
        };
        let message = format!(
            "writing {what} {}: expected a path outside the sources of the result, found that {relation} {}; nothing was changed: choose another destination",
            destination.display(),
            source.display()
        );
        return Err(StoreError::new(StoreErrorKind::Destination, message));
    }
    Ok(())
}

/// The path without links and `..`, even if its end does not exist yet; there, `..` removes the component before it.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir => real.push(part),
            Component::Normal(name) => {
                real.push(name);
                if let Ok(found) = real.canonicalize() {
                    real = found;
                }
            }
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_source_what_is_above_and_what_is_inside_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        fs::create_dir_all(at("runs/student/model")).unwrap();
        fs::create_dir_all(at("runs/studentish")).unwrap();
        let source = at("runs/student");
        for (out, relation) in [
            ("runs/student", "it is"),
            ("runs", "it contains"),
            ("runs/student/model", "it is inside"),
            ("runs/student/new/deep", "it is inside"),
            ("runs/other/../student", "it is"),
            ("runs/missing/../student/new", "it is inside"),
            ("missing/../runs/student/../student", "it is"),
        ] {
            let error = refuse_overlap("the bundle", &at(out), &[&source]).unwrap_err().to_string();
            assert!(error.contains(relation), "{out}: {error}");
        }
        for out in ["runs/studentish", "runs/new", "runs/student2", "elsewhere"] {
            refuse_overlap("the bundle", &at(out), &[&source, Path::new(""), &at("missing")]).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_seen_through() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        fs::create_dir(at("model")).unwrap();
        std::os::unix::fs::symlink(at("model"), at("link")).unwrap();
        assert!(refuse_overlap("the bundle", &at("link"), &[&at("model")]).is_err());
        assert!(refuse_overlap("the bundle", &at("model/x"), &[&at("link")]).is_err());
    }
}
