//! Weight files of bundles: the header, and the byte ranges of tensors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep_fuzz_support::within;
use onestep_program::{WeightFile, WeightHeader};
use safetensors::SafeTensors;

fuzz_target!(|bytes: &[u8]| {
    within(bytes.len(), 160, || {
        let Ok(file) = WeightFile::new(bytes.to_vec(), "weights") else { return };
        let names: Vec<&str> = file.names().collect();
        let mut sum = 0;
        for name in &names {
            let (entry, view) = (file.header().get(name), file.get(name));
            let (Some(entry), Some(view)) = (entry, view) else { panic!("{name} is listed but missing") };
            assert_eq!(view.bytes.len() as u64, entry.size);
            assert_eq!(view.shape.iter().product::<usize>() * view.dtype.size(), view.bytes.len(), "{name}");
            sum += view.bytes.len();
        }
        let length = bytes.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head)) as usize;
        assert_eq!(8 + length + sum, bytes.len(), "every byte behind the header belongs to one tensor");

        // A browser has only the beginning of the file and its size.
        let beginning = WeightHeader::new(&bytes[..8 + length], bytes.len() as u64, "weights");
        let beginning = beginning.unwrap_or_else(|error| panic!("the header alone is refused: {error}"));
        assert!(names.iter().all(|name| beginning.get(name) == file.header().get(name)));
        assert!(WeightHeader::new(&bytes[..8 + length], bytes.len() as u64 + 1, "weights").is_err(), "a file of another size");

        // Our reader is stricter: a file that it accepts is read equally by the common one, if at all.
        if let Ok(other) = SafeTensors::deserialize(bytes) {
            assert_eq!(other.len(), names.len());
            for (name, view) in other.iter() {
                let ours = file.get(name).unwrap_or_else(|| panic!("{name:?} is missing"));
                assert_eq!((view.shape(), view.data()), (ours.shape, ours.bytes), "{name}");
            }
        }
    });
});
