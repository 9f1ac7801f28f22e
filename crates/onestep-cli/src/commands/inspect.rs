//! `onestep inspect`: what a model or a bundle contains, and what can be done with it.

use std::path::{Path, PathBuf};

use onestep::plan;
use onestep_pipeline::{OpenOptions, Pipeline, inspect::Report};
use onestep_program::{limits, manifest};
use serde_json::json;

use crate::bundle_folder::{self, SmokeTest};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::shared::Shared;

/// Show what a model or a bundle contains, and what can be done with it.
///
/// Of a model (a folder of diffusers, the folder of one component, a single file) it shows family, classes, parameters, element types and bytes of the
/// components without reading weights, and for `sample`, `distil` and `export` whether they are possible, or why not.
///
/// Of a bundle it shows operations, shapes, parameters, FLOPs, memory and kernels. It verifies the hashes of all files and reads them as
/// `onestep generate` does, with the same exit codes. Of a small bundle, one image is computed on the CPU.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  onestep inspect models/emoji\n  onestep inspect models/emoji --plan\n  onestep inspect stable-diffusion-v1-5 --variant fp16"
)]
pub struct Inspect {
    /// Model, run folder or bundle; by default the bundle models/emoji or bundle, here or next to the program
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Variant of a model's weight files, such as fp16; by default files without one, or the only one
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// List every dispatch
    #[arg(long)]
    plan: bool,
    /// List the tensors with TEXT in their name
    #[arg(long, value_name = "TEXT")]
    tensors: Option<String>,
    /// Print the limits that every bundle must keep
    #[arg(long)]
    limits: bool,
}

/// The model at `path`, or in the run folder there; `None` if it holds a bundle or nothing that is known.
fn model_of(path: &Path) -> Option<PathBuf> {
    if path.join(manifest::FILE_NAME).is_file() {
        return None;
    }
    let inside = path.join("model");
    if inside.join("model_index.json").exists() {
        return Some(inside);
    }
    let is_model = path.is_file() || ["model_index.json", "config.json"].iter().any(|name| path.join(name).exists());
    is_model.then(|| path.to_owned())
}

impl Inspect {
    /// Prints the report.
    pub fn run(self, shared: &Shared) -> Result<(), Failure> {
        if let Some(path) = self.path.as_deref().and_then(model_of) {
            let report = Report::new(&Pipeline::open(&path, &OpenOptions { variant: self.variant, ..OpenOptions::default() })?);
            return if shared.json { output::json(&json!(report)) } else { output::text(&report.to_string()) };
        }
        let folder = bundle_folder::find(self.path.as_deref())?;
        let bundle = bundle_folder::open(&folder)?;
        bundle_folder::check(&folder, &bundle)?;
        let smoke_test = bundle_folder::smoke_test(bundle.clone())?;
        let manifest = bundle.manifest();
        let mut components = Vec::new();
        for (name, program) in bundle.programs() {
            let plan = plan(program).map_err(|error| Failure::new(Exit::Input, format!("planning {name}: {error}")))?;
            components.push((name, program, plan));
        }
        if shared.json {
            let components: serde_json::Map<_, _> = components
                .iter()
                .map(|(name, program, plan)| {
                    let facts = json!({
                        "operations": program.nodes.len(), "by_kind": program.histogram().0, "parameters": program.parameters(), "flops": program.flops(),
                        "dispatches": plan.dispatches.len(), "arena_bytes": plan.arena_bytes(), "weight_bytes": plan.weight_bytes(),
                        "kernels": plan.kernels().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                    });
                    ((*name).clone(), facts)
                })
                .collect();
            return output::json(
                &json!({ "id": bundle.id(), "title": manifest.title, "license": manifest.license, "bytes": manifest.total_bytes(), "generation": manifest.generation, "image_computed": smoke_test == SmokeTest::Finite, "components": components }),
            );
        }
        output::text(&format!("{} · {} · bundle {}", manifest.title, manifest.license, &bundle.id()[..16]))?;
        let generation = &manifest.generation;
        output::text(&format!(
            "{}×{} pixels from noise {:?}, prompts of {} tokens",
            generation.image[0], generation.image[1], generation.latent, generation.prompt_tokens
        ))?;
        output::text(&format!("{smoke_test}"))?;
        output::text(&format!("\n{} bytes to download, all hashes verified:", manifest.total_bytes()))?;
        for file in &manifest.files {
            output::text(&format!("  {:32} {:>12}", file.name, file.size))?;
        }
        for (name, program, plan) in &components {
            output::text(&format!(
                "\n{name}: {} parameters, {:.3} GFLOP, {} operations",
                program.parameters(),
                program.flops() as f64 / 1e9,
                program.nodes.len()
            ))?;
            for (what, ports) in [("takes", &program.inputs), ("gives", &program.outputs)] {
                for port in ports {
                    let value = program.value(port.value);
                    output::text(&format!("  {what} {} {:?} {:?}", port.name, value.shape, value.dtype))?;
                }
            }
            output::text(&format!("  operations: {}", program.histogram()))?;
            let text = if self.plan { format!("{plan:#}") } else { plan.to_string() };
            for line in text.lines() {
                output::text(&format!("  {line}"))?;
            }
            if let Some(part) = &self.tensors {
                for value in program.weights() {
                    let tensor = value.weight.as_deref().unwrap_or_default();
                    if tensor.contains(part.as_str()) {
                        output::text(&format!("  {tensor} {:?} {:?}", value.shape, value.dtype))?;
                    }
                }
            }
        }
        if self.limits {
            output::text("\nlimits:")?;
            for limit in limits::TABLE {
                output::text(&format!("  {:>12} {}", limit.max, limit.what))?;
            }
        }
        Ok(())
    }
}
