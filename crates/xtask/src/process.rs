//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A sentence for the terminal.
#[derive(Debug)]
pub struct Failure(pub String);

pub type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A failure with what was being done.
pub fn while_doing<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let quote = |part: &OsStr| {
        let text = part.to_string_lossy();
        if text.is_empty() || text.contains(|sign: char| sign.is_whitespace() || "'\"$&|;<>()".contains(sign)) {
            format!("'{text}'")
        } else {
            text.into_owned()
        }
    };
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    std::iter::once(quote(program)).chain(command.get_args().map(quote)).collect::<Vec<_>>().join(" ")
}

/// Runs to the end with this terminal, having said what is run.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().map_err(while_doing(format!("{line} cannot be started")))?;
    if status.success() { Ok(()) } else { Err(Failure(format!("{line} failed ({status})"))) }
}

/// Runs to the end and gives every line of its output to `each` as it comes, besides printing it. Returns whether it succeeded.
pub fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let line = line(command);
    println!("$ {line}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(while_doing(format!("{line} cannot be started")))?;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        // Not `lines()`: one byte that is not UTF-8 would end the reading.
        while output.read_until(b'\n', &mut bytes).map_err(while_doing(format!("reading from {line}")))? > 0 {
            let text = String::from_utf8_lossy(&bytes);
            print!("{text}");
            each(text.trim_end());
            bytes.clear();
        }
    }
    Ok(child.wait().map_err(while_doing(line))?.success())
}

/// What a program prints, if it is there and succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where a program is on PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    let script = format!("{program}.cmd");
    env::split_paths(&env::var_os("PATH")?).flat_map(|folder| [folder.join(&name), folder.join(&script)]).find(|path| path.is_file())
}
