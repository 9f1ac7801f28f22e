//! A loaded model, its pictures, and the canvas that shows them.

use js_sys::{Function, Int32Array, Reflect, Uint8Array};
use onestep::{Backend, DeviceInfo, Error, ErrorKind, GenerateOptions, Model, Picture, Prompt, Timings, webgpu};
use serde_json::json;
use wasm_bindgen::prelude::*;
use web_sys::OffscreenCanvas;

use crate::{files::Files, js};

/// What would compute here: `{ name, interface, software }`; refused with kind `unsupported` where nothing would.
#[wasm_bindgen]
pub async fn probe() -> Result<JsValue, JsValue> {
    js::object(&device(&webgpu::probe().await.map_err(js::error)?))
}

fn device(info: &DeviceInfo) -> serde_json::Value {
    json!({ "name": info.name, "interface": info.interface, "software": info.software })
}

fn reading(prompt: &Prompt) -> Result<JsValue, JsValue> {
    js::object(&json!({ "tokens": prompt.tokens, "truncated": prompt.truncated, "unknown": prompt.unknown.iter().collect::<String>() }))
}

/// Checks the files, uploads the weights and compiles the programs; `watch` is `(stage, done, total) => boolean | undefined`.
#[wasm_bindgen]
pub async fn open(files: Files, watch: Function) -> Result<Loaded, JsValue> {
    let bundle = files.bundle().map_err(js::error)?;
    let model = Model::open(bundle, Backend::WebGpu, &mut js::Callback(watch)).await.map_err(js::error)?;
    Ok(Loaded { model, canvas: None })
}

/// A model that is ready.
#[wasm_bindgen]
pub struct Loaded {
    model: Model,
    canvas: Option<webgpu::Canvas>,
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

    /// Makes a picture: `{ width, height, rgba, ids, reading, timings }`.
    pub async fn generate(&mut self, prompt: String, seed: u64, watch: Function) -> Result<JsValue, JsValue> {
        let picture = self.model.generate(&GenerateOptions { prompt, seed }, &mut js::Callback(watch)).await.map_err(js::error)?;
        let Timings { text, generator, decoder, total } = picture.timings;
        let object = js::object(&json!({
            "width": picture.width,
            "height": picture.height,
            "timings": { "text": text, "generator": generator, "decoder": decoder, "total": total },
        }))?;
        Reflect::set(&object, &"rgba".into(), &Uint8Array::from(picture.rgba.as_slice()))?;
        Reflect::set(&object, &"ids".into(), &Int32Array::from(picture.prompt.ids.as_slice()))?;
        Reflect::set(&object, &"reading".into(), &reading(&picture.prompt)?)?;
        Ok(object)
    }

    /// Makes `canvas` the place where [`show`](Self::show) shows pictures.
    pub async fn attach(&mut self, canvas: OffscreenCanvas) -> Result<(), JsValue> {
        let (width, height) = (canvas.width(), canvas.height());
        self.canvas = Some(self.model.canvas(webgpu::SurfaceTarget::OffscreenCanvas(canvas), width, height).await.map_err(js::error)?);
        Ok(())
    }

    /// Shows the last picture on the canvas, straight from the GPU.
    pub async fn show(&self) -> Result<(), JsValue> {
        match &self.canvas {
            Some(canvas) => self.model.show(canvas).await.map_err(js::error),
            None => Err(js::error(Error::new(ErrorKind::InvalidOption, "there is no canvas to show the picture on"))),
        }
    }

    /// A picture of this model's as a PNG file, with or without how it was made.
    #[allow(clippy::too_many_arguments, reason = "JavaScript's side of a picture, part by part")]
    pub fn png(&self, width: u32, height: u32, rgba: Vec<u8>, ids: Vec<i32>, prompt: &str, seed: u64, metadata: bool) -> Result<Vec<u8>, JsValue> {
        let read = Prompt { ids, ..Prompt::default() };
        let picture = Picture { width, height, rgba, prompt: read, seed, timings: Timings::default() };
        let file = match metadata {
            true => self.model.png(&picture, prompt),
            false => onestep::png::encode(&picture, None),
        };
        file.map_err(js::error)
    }
}
