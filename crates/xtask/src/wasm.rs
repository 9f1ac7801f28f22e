//! What a build for browsers is made with.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    folders,
    process::{self, Result},
};

/// One of the page's modules: each has one path, so that a page fetches no more than it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    WebGpu,
    Cpu,
    /// For browsers that multiply and add in one instruction; the others refuse it.
    CpuRelaxed,
}

impl Module {
    pub const ALL: [Module; 3] = [Module::WebGpu, Module::Cpu, Module::CpuRelaxed];

    /// Its files are named after it: `NAME.js` and `NAME_bg.wasm`.
    pub fn name(self) -> &'static str {
        match self {
            Module::WebGpu => "onestep-wasm",
            Module::Cpu => "onestep-wasm-cpu",
            Module::CpuRelaxed => "onestep-wasm-cpu-relaxed",
        }
    }
    /// What it takes of the compiler in addition to what the workspace's settings say.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Module::WebGpu | Module::Cpu => &[],
            Module::CpuRelaxed => &["--config", r#"target.wasm32-unknown-unknown.rustflags=["-Ctarget-feature=+relaxed-simd"]"#],
        }
    }
    /// Builds one of those that compute themselves; the other is for trunk.
    pub fn build(self, toolchain: &Toolchain) -> Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(self.settings());
        cargo.args(["build", "--release", "--package=onestep-wasm", "--target=wasm32-unknown-unknown", "--no-default-features", "--features=cpu"]);
        process::run(toolchain.prepare(self, &mut cargo))
    }
    /// The GPU computes for the one, so that it need only be small; the others compute themselves.
    fn opt_level(self) -> &'static str {
        match self {
            Module::WebGpu => "z",
            Module::Cpu | Module::CpuRelaxed => "3",
        }
    }
}

/// A compiler that rustup does not know.
#[derive(Clone, Debug)]
pub struct Compiler {
    pub compiler: PathBuf,
    pub linker: PathBuf,
}

/// A compiler that has the standard library for wasm32, and the program that makes JavaScript for its output.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// `None` for the one that rustup chooses.
    pub compiler: Option<Compiler>,
    /// wasm-bindgen.
    pub bindgen: PathBuf,
}

impl Toolchain {
    /// wasm-bindgen for the module that cargo built last; cargo gives all the same name.
    pub fn bindgen(&self, into: &Path) -> Command {
        let mut out_dir = OsString::from("--out-dir=");
        out_dir.push(into);
        let mut command = Command::new(&self.bindgen);
        command.args(["--target=web", "--no-typescript"]).arg(out_dir);
        command.arg(folders::wasm_target().join("wasm32-unknown-unknown/release/onestep_wasm.wasm"));
        command
    }

    /// Gives a command this toolchain and the settings of a module's release.
    pub fn prepare<'a>(&self, module: Module, command: &'a mut Command) -> &'a mut Command {
        // trunk looks for wasm-bindgen on PATH.
        if process::find("wasm-bindgen").as_ref() != Some(&self.bindgen) {
            let path = env::var_os("PATH").unwrap_or_default();
            let path = self.bindgen.parent().map(PathBuf::from).into_iter().chain(env::split_paths(&path));
            command.env("PATH", env::join_paths(path).unwrap_or_else(|_| OsString::new()));
        }
        command
            .current_dir(folders::root())
            .env("CARGO_TARGET_DIR", folders::wasm_target())
            .env(folders::WASM_TARGET, folders::wasm_target())
            // Small and fast to load. Set here and not in Cargo.toml, where these would hold for native builds as well.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", module.opt_level())
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
        if let Some(Compiler { compiler, linker }) = &self.compiler {
            command.env("RUSTC", compiler).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }
}
