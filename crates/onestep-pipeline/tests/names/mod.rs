//! Reads the fixtures of `tests/reference/single_file.py`: names, shapes and checksums.

use std::{collections::BTreeMap, path::PathBuf};

/// Names with their shapes.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The tensors of a network: the shape, and the checksum of its values if there is one.
pub type Network = BTreeMap<String, (Vec<usize>, Option<String>)>;

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A model: the stored tensors, and the tensors of each network with the checksum of their values if there is one.
pub struct Model {
    #[allow(dead_code)] // Not of interest to every test.
    pub stored: Shapes,
    pub networks: BTreeMap<String, Network>,
}

impl Model {
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(fixture(&format!("single_file/{name}.txt"))).unwrap();
        let mut sections: BTreeMap<String, Network> = BTreeMap::new();
        let (mut section, mut before) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("= ") {
                (section, before) = (name.to_owned(), String::new());
                continue;
            }
            // How many characters are those of the name before, and the rest.
            let mut columns = line.split(' ');
            let shared: usize = columns.next().unwrap().parse().unwrap();
            let name = format!("{}{}", &before[..shared], columns.next().unwrap());
            let shape = match columns.next().unwrap() {
                "-" => Vec::new(),
                shape => shape.split('x').map(|axis| axis.parse().unwrap()).collect(),
            };
            sections.entry(section.clone()).or_default().insert(name.clone(), (shape, columns.next().map(str::to_owned)));
            before = name;
        }
        let stored = sections.remove("stored").unwrap().into_iter().map(|(name, (shape, _))| (name, shape)).collect();
        Self { stored, networks: sections }
    }

    /// Names and shapes of a network.
    pub fn network(&self, name: &str) -> Shapes {
        self.networks[name].iter().map(|(name, (shape, _))| (name.clone(), shape.clone())).collect()
    }
}

/// Whole numbers below 2^24, other ones for each name and index: the script computes the same.
pub fn numbers(name: &str, shape: &[usize]) -> impl Iterator<Item = u32> {
    let start = u64::from(crc32(name));
    (0..shape.iter().product::<usize>() as u64).map(move |index| ((start + index * 2_654_435_761) % (1 << 24)) as u32)
}

fn crc32(text: &str) -> u32 {
    !text
        .bytes()
        .fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }))
}
