//! A model on its way to the GPU. Its weights never lie in this module's memory: JavaScript writes each chunk, once it has compared it with its
//! hash, into a buffer of the device, and here it is only said what is to become of it.

use js_sys::Function;
use onestep::webgpu::{Access, CARRIED_BYTES};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::{Files, Loaded, js};

/// Checks the files other than the weights, opens a device and plans the programs. `remembered` is what [`remember`](Loading::remember) gave at
/// an earlier time; `watch` is `(stage, done, total) => boolean | undefined`.
#[wasm_bindgen]
pub async fn begin(files: Files, remembered: Option<String>, watch: Function) -> Result<Loading, JsValue> {
    let bundle = files.outline().map_err(js::error)?;
    let mut callback = js::Callback::new(watch);
    callback.remembered = remembered;
    let loading = onestep::ModelLoader::new(bundle, &mut callback).await.map_err(js::error)?;
    Ok(Loading { loading, remember: callback.remember })
}

/// A model whose weights are on their way. Freed, it frees the device's memory.
#[wasm_bindgen]
pub struct Loading {
    loading: onestep::ModelLoader,
    remember: Option<String>,
}

#[wasm_bindgen]
impl Loading {
    /// The device, a `GPUDevice`.
    #[cfg(target_arch = "wasm32")]
    pub fn device(&self) -> JsValue {
        self.loading.device().map_or(JsValue::UNDEFINED, |device| device.clone().into())
    }
    /// Where chunks are written, a `GPUBuffer`.
    #[cfg(target_arch = "wasm32")]
    pub fn raw(&self) -> JsValue {
        self.loading.raw().map_or(JsValue::UNDEFINED, |raw| raw.clone().into())
    }
    /// Bytes before each chunk that stand in front of it in the buffer.
    pub fn carried(&self) -> u32 {
        CARRIED_BYTES as u32
    }

    /// A line to be kept for the next time, if there is a new one.
    pub fn remember(&self) -> Option<String> {
        self.remember.clone()
    }

    /// What is going to be compiled, so that it can be compiled ahead: `[{ code, entryPoint, entries }]`, the entries of the one bind group's layout.
    pub fn kernels(&self) -> Result<JsValue, JsValue> {
        let kernels = self.loading.kernels().into_iter().map(|kernel| {
            let entries = kernel.bindings.iter().map(|binding| {
                let kind = match binding.access {
                    Access::Uniform => "uniform",
                    Access::Read => "read-only-storage",
                    Access::ReadWrite => "storage",
                };
                json!({ "binding": binding.index, "visibility": 4, "buffer": { "type": kind, "minBindingSize": binding.smallest } })
            });
            json!({ "code": kernel.wgsl(), "entryPoint": kernel.entry_points.first(), "entries": entries.collect::<Vec<_>>() })
        });
        js::object(&kernels.collect::<Vec<_>>().into())
    }

    /// Takes the header of weight file `number`: its beginning, or all of it.
    pub fn header(&mut self, number: usize, beginning: &[u8]) -> Result<(), JsValue> {
        self.loading.header(number, beginning).map_err(js::error)
    }

    /// Packs the bytes `start` to `end` of that file, which have been written.
    pub async fn pack(&mut self, start: f64, end: f64) -> Result<(), JsValue> {
        self.loading.pack(start as u64..end as u64).await.map_err(js::error)
    }

    /// Compiles the programs; `watch` is `(stage, done, total) => boolean | undefined`.
    pub async fn finish(self, watch: Function) -> Result<Loaded, JsValue> {
        Ok(Loaded { model: self.loading.finish(&mut js::Callback::new(watch)).await.map_err(js::error)?, canvas: None })
    }
}
