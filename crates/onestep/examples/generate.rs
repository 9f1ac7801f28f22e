//! Generates an image with a bundle and writes it as PNG:
//!
//! ```sh
//! cargo run --release -p onestep --example generate -- models/emoji "red apple" apple.png
//! ```

use std::{env, error::Error, fs, path::Path};

use onestep::{Backend, GenerateOptions, Model, program::Bundle};
use pollster::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, prompt, file] = arguments.as_slice() else { return Err("expected three arguments: BUNDLE PROMPT FILE".into()) };
    let folder = Path::new(folder);
    let manifest = fs::read(folder.join("manifest.json"))?;
    let bundle = Bundle::open::<Box<dyn Error>>(&manifest, |file| Ok(fs::read(folder.join(&file.name))?))?;

    let mut model = block_on(Model::open(bundle, Backend::Cpu, &mut ()))?;
    let options = GenerateOptions { prompt: prompt.clone(), noise: 7.into(), ..GenerateOptions::default() };
    let image = block_on(model.generate(&options, &mut ()))?;
    fs::write(file, model.png(&image, prompt)?)?;
    Ok(())
}
