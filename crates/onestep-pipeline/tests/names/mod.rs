//! Reads the fixtures of `tests/reference/single_file.py`: names, shapes and checksums.

use std::{collections::BTreeMap, path::PathBuf};

/// Names with their shapes.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A model: the stored tensors, and the tensors of each network with the checksum of their values if there is one.
pub struct Model {
    pub stored: Shapes,
    pub networks: BTreeMap<String, BTreeMap<String, (Vec<usize>, Option<String>)>>,
}

impl Model {
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(fixture(&format!("single_file/{name}.txt"))).unwrap();
        let mut sections: BTreeMap<String, BTreeMap<String, (Vec<usize>, Option<String>)>> = BTreeMap::new();
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
