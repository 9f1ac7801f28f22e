//! `manifest.json` of a bundle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::{mutate_json, within};
use onestep_program::{Manifest, limits};

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    within(bytes.len(), 64, || {
        let Ok(manifest) = Manifest::from_json(bytes) else { return };
        assert_eq!(Manifest::from_json(&manifest.to_json()).as_ref(), Ok(&manifest), "what is written is what was read");
        assert!(manifest.total_bytes() <= limits::BUNDLE_BYTES.max);
        for file in &manifest.files {
            // Each name is one segment of a path, whatever the operating system.
            assert!(!file.name.starts_with('.') && !file.name.contains(['/', '\\', ':', '\0']), "{:?}", file.name);
            assert_eq!(manifest.file(&file.name), Some(file), "no two files have one name");
            let _ = file.verify(bytes);
        }
    });
});
