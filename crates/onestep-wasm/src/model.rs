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

/// Checks the files and prepares the programs; `on_stage` is `(stage, done, total) => boolean | undefined`.
#[cfg(not(feature = "webgpu"))]
#[wasm_bindgen(js_name = openModel)]
pub async fn open_model(files: crate::BundleFiles, on_stage: Function) -> Result<LoadedModel, JsValue> {
    let bundle = files.bundle().map_err(js::error)?;
    Ok(LoadedModel { model: Model::open(bundle, onestep::Backend::Cpu, &mut js::Callback::new(on_stage)).await.map_err(js::error)? })
}

/// A model that is ready.
#[wasm_bindgen]
pub struct LoadedModel {
    pub(crate) model: Model,
    #[cfg(feature = "webgpu")]
    pub(crate) canvas: Option<onestep::webgpu::Canvas>,
}

#[wasm_bindgen]
impl LoadedModel {
    /// The model card, Markdown.
    pub fn card(&self) -> String {
        self.model.card().to_owned()
    }
    /// The device that computes: `{ name, interface, software }`.
    pub fn device(&self) -> Result<JsValue, JsValue> {
        js::object(&device(&self.model.device()))
    }

    /// Generates an image: `{ width, height, rgba, ids, reading, timings }`. `time_stages` adds the times of the stages; with `skip_pixels` the image
    /// stays on the GPU and `rgba` is empty. `on_stage` is `(stage, done, total) => boolean | undefined`.
    pub async fn generate(
        &mut self,
        prompt: String,
        noise: Noise,
        time_stages: bool,
        skip_pixels: bool,
        on_stage: Function,
    ) -> Result<JsValue, JsValue> {
        let options = GenerateOptions { prompt, noise: noise.0, staged: time_stages, skip_readback: skip_pixels };
        let image = self.model.generate(&options, &mut js::Callback::new(on_stage)).await.map_err(js::error)?;
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
    #[wasm_bindgen(js_name = memoryBytes)]
    pub fn memory_bytes(&self) -> f64 {
        self.model.memory() as f64
    }

    /// Measures what each kernel costs in an image: `[{ component, kernel, runs, milliseconds }]`.
    pub async fn profile(&mut self, prompt: String, noise: Noise) -> Result<JsValue, JsValue> {
        let options = GenerateOptions { prompt, noise: noise.0, ..GenerateOptions::default() };
        let costs = self.model.profile(&options, js::now).await.map_err(js::error)?;
        let costs = costs.iter().map(|KernelCost { component, kernel, runs, milliseconds }| {
            json!({ "component": component, "kernel": kernel, "runs": runs, "milliseconds": milliseconds })
        });
        js::object(&costs.collect::<Vec<_>>().into())
    }

    /// Encodes an image of this model as a PNG file, with or without the metadata that says how it was generated.
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
