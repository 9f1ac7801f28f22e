//! What several test files need.

use std::fs;
use std::path::Path;

/// Bytes that a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An image folder with squares of eight colours.
pub fn write_images(folder: &Path, size: u32) {
    const COLOURS: [(&str, [u8; 3]); 8] = [
        ("red", [220, 30, 30]),
        ("green", [30, 180, 60]),
        ("blue", [40, 60, 220]),
        ("yellow", [240, 220, 40]),
        ("black", [10, 10, 10]),
        ("grey", [128, 128, 128]),
        ("orange", [250, 140, 20]),
        ("violet", [140, 60, 200]),
    ];
    fs::create_dir_all(folder).expect("a folder");
    let mut metadata = String::new();
    for (name, colour) in COLOURS {
        let inside = |pixel: u32| (size / 4..size * 3 / 4).contains(&pixel);
        let pixels: Vec<u8> =
            (0..size * size).flat_map(|index| if inside(index % size) && inside(index / size) { colour } else { [255; 3] }).collect();
        let file = fs::File::create(folder.join(format!("{name}.png"))).expect("a file");
        let mut encoder = png::Encoder::new(file, size, size);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().expect("a header").write_image_data(&pixels).expect("pixels");
        metadata.push_str(&format!("{{\"file_name\":\"{name}.png\",\"text\":\"{name} square\",\"phrasings\":[\"{name} square\",\"a {name} square\"],\"held_out\":[\"image of a {name} square\"]}}\n"));
    }
    fs::write(folder.join("metadata.jsonl"), metadata).expect("a file");
}
