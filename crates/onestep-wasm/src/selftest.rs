//! The kernel cases, on this browser's GPU.

use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::js;

/// `[{ name, passed, detail, worst }]`: each kernel's results against an f64 reference; `worst` is the largest error over its tolerance.
#[wasm_bindgen]
pub async fn selftest() -> Result<JsValue, JsValue> {
    let cases = onestep::webgpu::selftest().await.map_err(js::error)?;
    let rows: Vec<_> =
        cases.iter().map(|case| json!({ "name": case.name, "passed": case.passed, "detail": case.detail, "worst": case.worst })).collect();
    js::object(&rows.into())
}
