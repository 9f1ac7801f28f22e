//! A canvas on which the GPU shows images.

use onestep::{Error, ErrorKind, webgpu};
use wasm_bindgen::prelude::*;
use web_sys::OffscreenCanvas;

use crate::{LoadedModel, js};

#[wasm_bindgen]
impl LoadedModel {
    /// Makes [`show_on_canvas`](Self::show_on_canvas) show images on `canvas`.
    #[wasm_bindgen(js_name = attachCanvas)]
    pub async fn attach_canvas(&mut self, canvas: OffscreenCanvas) -> Result<(), JsValue> {
        let (width, height) = (canvas.width(), canvas.height());
        self.canvas = Some(self.model.canvas(webgpu::SurfaceTarget::OffscreenCanvas(canvas), width, height).await.map_err(js::error)?);
        Ok(())
    }

    /// Shows the last image on the attached canvas, directly from the GPU. Without a canvas: `invalid-option`.
    #[wasm_bindgen(js_name = showOnCanvas)]
    pub async fn show_on_canvas(&self) -> Result<(), JsValue> {
        match &self.canvas {
            Some(canvas) => self.model.show(canvas).await.map_err(js::error),
            None => Err(js::error(Error::new(ErrorKind::InvalidOption, "there is no canvas to show the image on"))),
        }
    }
}
