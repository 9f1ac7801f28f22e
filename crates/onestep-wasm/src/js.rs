//! Conversions to JavaScript values, and the clock and the callback that come from JavaScript.

use std::cell::RefCell;

use js_sys::{Function, JSON, Reflect};
use onestep::{Callbacks, Error, Stage};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Milliseconds of the page's or worker's monotonic clock.
    #[wasm_bindgen(js_namespace = performance)]
    pub(crate) fn now() -> f64;
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Records the message of a panic: all that JavaScript sees of one is "unreachable".
#[wasm_bindgen(start)]
fn record_panics() {
    std::panic::set_hook(Box::new(|panic| PANIC.with_borrow_mut(|message| *message = Some(panic.to_string()))));
}

/// The message of the last panic. After a panic no function of the build may be called again.
#[wasm_bindgen(js_name = lastPanic)]
pub fn last_panic() -> Option<String> {
    PANIC.with_borrow(Clone::clone)
}

/// As a JavaScript `Error` with `kind` and, where there is one, `file`.
pub(crate) fn error(error: impl Into<Error>) -> JsValue {
    let error = error.into();
    let object = js_sys::Error::new(&error.to_string());
    // Setting a property of a new object cannot fail.
    let _ = Reflect::set(&object, &"kind".into(), &error.kind().as_str().into());
    if let Some(file) = error.location() {
        let _ = Reflect::set(&object, &"file".into(), &file.into());
    }
    object.into()
}

/// As a JavaScript object.
pub(crate) fn object(json: &serde_json::Value) -> Result<JsValue, JsValue> {
    JSON::parse(&json.to_string())
}

/// A callback `(stage, done, total) => boolean | undefined`; `false` cancels, and so does throwing.
pub(crate) struct Callback {
    function: Function,
    /// The kernel variants that an earlier load measured, if the page stored them.
    pub(crate) stored_variants: Option<String>,
    /// The kernel variants that this load measured, to be stored.
    pub(crate) measured_variants: Option<String>,
}

impl Callback {
    pub(crate) fn new(function: Function) -> Self {
        Self { function, stored_variants: None, measured_variants: None }
    }
}

impl Callbacks for Callback {
    fn now(&self) -> f64 {
        now()
    }
    fn stage(&mut self, stage: Stage) -> bool {
        let (done, total) = match stage {
            Stage::Compile { done, total } => (done, total),
            _ => (0, 1),
        };
        let answer = self.function.call3(&JsValue::NULL, &stage.name().into(), &(done as f64).into(), &(total as f64).into());
        answer.is_ok_and(|answer| answer.as_bool() != Some(false))
    }
    fn load_tuning(&mut self) -> Option<String> {
        self.stored_variants.clone()
    }
    fn save_tuning(&mut self, line: &str) {
        self.measured_variants = Some(line.to_owned());
    }
}
