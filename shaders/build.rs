//! Composes, validates and reflects every variant, and writes them as constants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use naga::valid::{Capabilities, ValidationFlags, Validator};

#[path = "src/compose.rs"]
mod compose;
#[path = "src/flags.rs"]
#[allow(dead_code, reason = "the crate uses the rest")]
mod flags;
#[path = "build/reflect.rs"]
mod reflect;
#[path = "build/table.rs"]
mod table;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            for error in &errors {
                eprintln!("{error}\n");
            }
            eprintln!("{} shader errors", errors.len());
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Vec<String>> {
    let one = |error: String| vec![error];
    for path in ["variants", "kernels", "shared", "build", "build.rs", "src/compose.rs", "src/flags.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let table = read(Path::new("variants")).map_err(one)?;
    let shared = folder("shared").map_err(one)?;
    let mut kernels = folder("kernels").map_err(one)?;
    let mut variants = table::variants(&table).map_err(one)?;
    // Browsers cannot run native kernels, so a WebAssembly build leaves them out.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|target| target == "wasm32") {
        let native = |file: &str| variants.iter().any(|variant| variant.native && variant.file == file);
        kernels.retain(|file, _| !native(file));
        variants.retain(|variant| !variant.native);
    }
    let mut errors = Vec::new();
    for file in kernels.keys().filter(|file| !variants.iter().any(|variant| variant.file == **file)) {
        errors.push(format!("kernels/{file}.wgsl has no line in the table of variants"));
    }
    let mut text = String::new();
    let mut lists = reflect::Lists::default();
    for variant in &variants {
        match compile(variant, &kernels, &shared, &mut lists) {
            Ok(constant) => text.push_str(&constant),
            Err(error) => errors.push(format!("{}: {error}", variant.name)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    text.push_str(&lists.text);
    // Kernels are composed from these sources when they are first used: written out, all variants take a megabyte.
    for (name, files) in [("SOURCES", &kernels), ("SNIPPETS", &shared)] {
        text.push_str(&format!("static {name}: [(&str, &str); {}] = [\n", files.len()));
        for (file, source) in files {
            text.push_str(&format!("    ({file:?}, {:?}),\n", table::stripped(source)));
        }
        text.push_str("];\n");
    }
    // FNV-1a.
    let bytes = [&table].into_iter().chain(kernels.values()).chain(shared.values()).flat_map(|text| text.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    text.push_str(&format!(
        "/// A hash of all kernel sources: measurements of one set of kernels do not hold for another.\npub const HASH: u32 = {hash:#010x};\n"
    ));
    let names: Vec<String> = variants.iter().map(|variant| format!("&{}", variant.name.to_uppercase())).collect();
    text.push_str(&format!(
        "/// All kernels, in the order of the table.\npub static KERNELS: [&Kernel; {}] = [{}];\n",
        names.len(),
        names.join(", ")
    ));
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(|error| one(error.to_string()))?);
    std::fs::write(out.join("kernels.rs"), text).map_err(|error| one(error.to_string()))
}

fn compile(
    variant: &table::Variant,
    kernels: &BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
    lists: &mut reflect::Lists,
) -> Result<String, String> {
    let source = kernels.get(&variant.file).ok_or_else(|| format!("there is no kernels/{}.wgsl", variant.file))?;
    if !source.starts_with("//") {
        return Err("a kernel must open with its contract".into());
    }
    let defines: Vec<&str> = variant.defines.iter().map(String::as_str).collect();
    let shared: Vec<(&str, &str)> = shared.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let wgsl = compose::compose(source, &defines, &shared)?;
    let module = naga::front::wgsl::parse_str(&wgsl).map_err(|error| error.emit_to_string(&wgsl))?;
    // Every WebGPU adapter has `unpack2x16float`, which naga counts as a capability; native kernels may use more.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if variant.native {
        capabilities |= Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX;
    }
    Validator::new(ValidationFlags::all(), capabilities).validate(&module).map_err(|error| error.emit_to_string(&wgsl))?;
    reflect::constant(variant, &module, lists)
}

fn folder(name: &str) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(name).map_err(|error| format!("{name}: {error}"))? {
        let path = entry.map_err(|error| format!("{name}: {error}"))?.path();
        if let (Some(stem), Some("wgsl")) = (path.file_stem().and_then(|stem| stem.to_str()), path.extension().and_then(|end| end.to_str())) {
            files.insert(stem.to_owned(), read(&path)?);
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
