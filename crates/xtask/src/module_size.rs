//! What the page's modules may weigh, so that nobody fetches more than an image of middling size before the model.

use std::{fs, process::Command};

use crate::{
    folders,
    process::{Failure, Result, while_doing},
    wasm::Module,
};

/// Bytes that a module may have, as it is and as servers send it.
struct Budget {
    module: Module,
    raw: Option<u64>,
    gzipped: u64,
}

const BUDGETS: [Budget; 3] = [
    // 1046 KiB, gzipped 359, with the reflected constants of all kernels, which the planner reads by name, and with models of two text encoders and
    // latents that do not halve evenly (13 and 5 KiB): room for the compiler's variation.
    Budget { module: Module::WebGpu, raw: Some(1053 << 10), gzipped: 363 << 10 },
    Budget { module: Module::Cpu, raw: None, gzipped: 450 << 10 },
    Budget { module: Module::CpuRelaxed, raw: None, gzipped: 450 << 10 },
];

/// Prints the size of each module of the built page and refuses those above their budget.
pub fn check() -> Result<()> {
    let mut above = Vec::new();
    for Budget { module, raw, gzipped } in BUDGETS {
        let file = folders::root().join("dist").join(format!("{}_bg.wasm", module.name()));
        let size = fs::metadata(&file).map_err(while_doing(file.display()))?.len();
        let packed = Command::new("gzip").args(["-9", "--stdout", "--no-name"]).arg(&file).output().ok().filter(|output| output.status.success());
        let packed = packed.map(|output| output.stdout.len() as u64);
        let name = module.name();
        match packed {
            Some(packed) => println!("{name}: {} KiB, gzipped {} KiB", kib(size), kib(packed)),
            None => println!("{name}: {} KiB; there is no gzip here to say what it is gzipped", kib(size)),
        }
        for (what, found, most) in [("", Some(size), raw), (" gzipped", packed, Some(gzipped))] {
            if let (Some(found), Some(most)) = (found, most)
                && found > most
            {
                above.push(format!("{name} has {} KiB{what}, and its budget is {} KiB", kib(found), kib(most)));
            }
        }
    }
    if above.is_empty() { Ok(()) } else { Err(Failure(format!("{}; see what has grown with `twiggy top` or wasm-objdump", above.join("; ")))) }
}

/// Rounded up, so that what is above a budget also reads so.
fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 10)
}
