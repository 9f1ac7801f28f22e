//! A canvas on which the GPU shows images.

use onestep::{Error, ErrorKind, webgpu};
use wasm_bindgen::prelude::*;
use web_sys::OffscreenCanvas;

use crate::{Loaded, js};

#[wasm_bindgen]
impl Loaded {
    /// Makes `canvas` the place where [`show`](Self::show) shows images.
    pub async fn attach(&mut self, canvas: OffscreenCanvas) -> Result<(), JsValue> {
        let (width, height) = (canvas.width(), canvas.height());
        self.canvas = Some(self.model.canvas(webgpu::SurfaceTarget::OffscreenCanvas(canvas), width, height).await.map_err(js::error)?);
        Ok(())
    }

    /// Shows the last image on the canvas, straight from the GPU.
    pub async fn show(&self) -> Result<(), JsValue> {
        match &self.canvas {
            Some(canvas) => self.model.show(canvas).await.map_err(js::error),
            None => Err(js::error(Error::new(ErrorKind::InvalidOption, "there is no canvas to show the image on"))),
        }
    }
}
