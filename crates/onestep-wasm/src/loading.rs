//! A model on its way to the GPU. Its weights never enter WebAssembly memory: JavaScript compares each chunk with its hash and writes it into a
//! buffer of the device, and the functions here unpack it there.

use js_sys::Function;
use onestep::webgpu::{Access, CARRIED_BYTES};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::{BundleFiles, LoadedModel, js};

/// Checks the files other than the weights, opens a device and plans the programs. `kernel_variants` is what
/// [`kernel_variants`](ModelLoader::kernel_variants) gave at an earlier time; `on_stage` is `(stage, done, total) => boolean | undefined`.
#[wasm_bindgen(js_name = startLoading)]
pub async fn start_loading(files: BundleFiles, kernel_variants: Option<String>, on_stage: Function) -> Result<ModelLoader, JsValue> {
    let bundle = files.outline().map_err(js::error)?;
    let mut callback = js::Callback::new(on_stage);
    callback.stored_variants = kernel_variants;
    let loading = onestep::ModelLoader::new(bundle, &mut callback).await.map_err(js::error)?;
    Ok(ModelLoader { loading, kernel_variants: callback.measured_variants })
}

/// A model during the upload of its weights. Freeing it frees the memory of the device.
#[wasm_bindgen]
pub struct ModelLoader {
    loading: onestep::ModelLoader,
    kernel_variants: Option<String>,
}

#[wasm_bindgen]
impl ModelLoader {
    /// The device, a `GPUDevice`.
    #[cfg(target_arch = "wasm32")]
    pub fn device(&self) -> JsValue {
        self.loading.device().map_or(JsValue::UNDEFINED, |device| device.clone().into())
    }
    /// The buffer that JavaScript writes chunks into, a `GPUBuffer`.
    #[cfg(target_arch = "wasm32")]
    #[wasm_bindgen(js_name = stagingBuffer)]
    pub fn staging_buffer(&self) -> JsValue {
        self.loading.raw().map_or(JsValue::UNDEFINED, |raw| raw.clone().into())
    }
    /// How many bytes of the file before a chunk come in front of the chunk in the buffer.
    #[wasm_bindgen(js_name = overlapBytes)]
    pub fn overlap_bytes(&self) -> u32 {
        CARRIED_BYTES as u32
    }

    /// The kernel variants that were measured to be fastest: a line to store for the next time, if it is new.
    #[wasm_bindgen(js_name = kernelVariants)]
    pub fn kernel_variants(&self) -> Option<String> {
        self.kernel_variants.clone()
    }

    /// The kernels that [`finish`](Self::finish) will compile: `[{ code, entryPoint, entries }]`, with the entries of the layout of the one bind
    /// group.
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

    /// Reads the header of weight file `number` from the first bytes of the file.
    #[wasm_bindgen(js_name = readHeader)]
    pub fn read_header(&mut self, number: usize, beginning: &[u8]) -> Result<(), JsValue> {
        self.loading.header(number, beginning).map_err(js::error)
    }

    /// Packs the bytes `start` to before `end` of that file, which JavaScript has written into the staging buffer.
    pub async fn pack(&mut self, start: f64, end: f64) -> Result<(), JsValue> {
        self.loading.pack(start as u64..end as u64).await.map_err(js::error)
    }

    /// Compiles the programs; `on_stage` is `(stage, done, total) => boolean | undefined`.
    pub async fn finish(self, on_stage: Function) -> Result<LoadedModel, JsValue> {
        Ok(LoadedModel { model: self.loading.finish(&mut js::Callback::new(on_stage)).await.map_err(js::error)?, canvas: None })
    }
}
