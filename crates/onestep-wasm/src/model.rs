//! A loaded model and its images.

use js_sys::{Function, Int32Array, Reflect, Uint8Array};
use onestep::{DeviceInfo, GenerateOptions, Image, KernelCost, Model, Prompt, StageTimes, Timings};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::{js, noise::Noise};

fn device(info: &DeviceInfo) -> serde_json::Value {
    json!({ "name": info.name, "interface": info.interface, "software": info.software })
}

fn reading(prompt: &Prompt) -> Result<JsValue, JsValue> {
    js::object(&json!({ "tokens": prompt.tokens, "truncated": prompt.truncated, "unknown": prompt.unknown.iter().collect::<String>() }))
}

/// Checks the files and prepares the programs; `watch` is `(stage, done, total) => boolean | undefined`.
#[cfg(not(feature = "webgpu"))]
#[wasm_bindgen]
pub async fn open(files: crate::Files, watch: Function) -> Result<Loaded, JsValue> {
    let bundle = files.bundle().map_err(js::error)?;
    Ok(Loaded { model: Model::open(bundle, onestep::Backend::Cpu, &mut js::Callback::new(watch)).await.map_err(js::error)? })
}

/// A model that is ready.
#[wasm_bindgen]
pub struct Loaded {
    pub(crate) model: Model,
    #[cfg(feature = "webgpu")]
    pub(crate) canvas: Option<onestep::webgpu::Canvas>,
}

#[wasm_bindgen]
impl Loaded {
    /// The model card, Markdown.
    pub fn card(&self) -> String {
        self.model.card().to_owned()
    }
    /// What computes: `{ name, interface, software }`.
    pub fn device(&self) -> Result<JsValue, JsValue> {
        js::object(&device(&self.model.device()))
    }

    /// What the model reads of a prompt: `{ tokens, truncated, unknown }`.
    pub fn read(&self, prompt: &str) -> Result<JsValue, JsValue> {
        reading(&self.model.prompt(prompt).map_err(js::error)?)
    }

    /// Makes an image: `{ width, height, rgba, ids, reading, timings }`; the times of stages with `staged` alone, no pixels with
    /// `keepPixels`.
    pub async fn generate(&mut self, prompt: String, noise: Noise, staged: bool, keep_pixels: bool, watch: Function) -> Result<JsValue, JsValue> {
        let options = GenerateOptions { prompt, noise: noise.0, staged, skip_readback: keep_pixels };
        let image = self.model.generate(&options, &mut js::Callback::new(watch)).await.map_err(js::error)?;
        let mut timings = json!({ "total": image.timings.total });
        if let Some(StageTimes { text, generator, decoder }) = image.timings.stages {
            timings = json!({ "text": text, "generator": generator, "decoder": decoder, "total": image.timings.total });
        }
        let object = js::object(&json!({
            "width": image.width,
            "height": image.height,
            "timings": timings,
        }))?;
        Reflect::set(&object, &"rgba".into(), &Uint8Array::from(image.rgba.as_slice()))?;
        Reflect::set(&object, &"ids".into(), &Int32Array::from(image.prompt.ids.as_slice()))?;
        Reflect::set(&object, &"reading".into(), &reading(&image.prompt)?)?;
        Ok(object)
    }

    /// Bytes that the model takes.
    pub fn memory(&self) -> f64 {
        self.model.memory() as f64
    }

    /// What each kernel costs in an image: `[{ component, kernel, runs, milliseconds }]`.
    pub async fn profile(&mut self, prompt: String, noise: Noise) -> Result<JsValue, JsValue> {
        let options = GenerateOptions { prompt, noise: noise.0, ..GenerateOptions::default() };
        let costs = self.model.profile(&options, js::now).await.map_err(js::error)?;
        let costs = costs.iter().map(|KernelCost { component, kernel, runs, milliseconds }| {
            json!({ "component": component, "kernel": kernel, "runs": runs, "milliseconds": milliseconds })
        });
        js::object(&costs.collect::<Vec<_>>().into())
    }

    /// An image of this model's as a PNG file, with or without how it was made.
    #[allow(clippy::too_many_arguments, reason = "JavaScript's side of an image, part by part")]
    pub fn png(&self, width: u32, height: u32, rgba: Vec<u8>, ids: Vec<i32>, prompt: &str, noise: Noise, metadata: bool) -> Result<Vec<u8>, JsValue> {
        let read = Prompt { ids, ..Prompt::default() };
        let image = Image { width, height, rgba, prompt: read, noise: noise.0, timings: Timings::default() };
        let file = match metadata {
            true => self.model.png(&image, prompt),
            false => onestep::png::encode(&image, None),
        };
        file.map_err(js::error)
    }
}
