//! The preprocessor: `#import name` (a file of `shared/`, once), `#ifdef`, `#ifndef`, `#else`, `#endif`; `#for i 8` … `#end` writes its
//! lines once for each number below 8, with `{i}` replaced by it and sums like `{i+1}` by what they come to; `{NAME}`, also as such a
//! count, stands for the value of a definition `NAME=8`; and nothing more.
//!
//! Loops are unrolled here because a list of accumulators that a shader's own loop indexes falls out of the registers wherever a driver
//! does not unroll it.

/// The most text that one kernel may unroll to: a mistaken count is refused, not written.
const BYTES: usize = 1 << 20;

/// Whether a name is defined, with a value or without.
fn is_defined(defines: &[&str], name: &str) -> bool {
    defines.iter().any(|define| define.split('=').next() == Some(name))
}

/// A line with `{NAME}` replaced by the value of every definition that has one.
fn valued(line: &str, defines: &[&str]) -> String {
    let values = defines.iter().filter_map(|define| define.split_once('='));
    values.fold(line.to_owned(), |line, (name, value)| line.replace(&format!("{{{name}}}"), value))
}

/// A line in which a loop's number stands for its name, alone or in a sum.
fn turned(line: &str, name: &str, number: &str) -> String {
    let line = line
        .replace(&format!("{{{name}}}"), number)
        .replace(&format!("{{{name}+"), &format!("{{{number}+"))
        .replace(&format!("+{name}}}"), &format!("+{number}}}"));
    let mut text = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let sum = after.split_once('}').and_then(|(sum, behind)| {
            let (a, b) = sum.split_once('+')?;
            Some((a.parse::<u32>().ok()? + b.parse::<u32>().ok()?, behind))
        });
        match sum {
            Some((sum, behind)) => {
                text.push_str(&sum.to_string());
                rest = behind;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

/// The text of a kernel with its imports, without comments and indentation.
pub fn compose(kernel: &str, defines: &[&str], shared: &[(&str, &str)]) -> Result<String, String> {
    let mut text = String::new();
    append(&mut text, kernel, defines, shared, &mut Vec::new())?;
    Ok(text)
}

fn append(text: &mut String, source: &str, defines: &[&str], shared: &[(&str, &str)], imported: &mut Vec<String>) -> Result<(), String> {
    let lines: Vec<(usize, String)> = source.lines().enumerate().map(|(number, line)| (number + 1, valued(line.trim(), defines))).collect();
    lines_into(text, &lines, defines, shared, imported)
}

fn lines_into(
    text: &mut String,
    lines: &[(usize, String)],
    defines: &[&str],
    shared: &[(&str, &str)],
    imported: &mut Vec<String>,
) -> Result<(), String> {
    // For every open condition: whether its current branch is taken, and whether its `#else` has come.
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut at_line = 0;
    while let Some((number, line)) = lines.get(at_line) {
        at_line += 1;
        let at = |message: &str| format!("line {number}: {message}");
        let mut words = line.split_whitespace();
        match words.next() {
            None => {}
            Some(word) if word.starts_with("//") => {}
            Some(word @ ("#ifdef" | "#ifndef")) => {
                let name = words.next().ok_or_else(|| at("a condition without a name"))?;
                open.push((is_defined(defines, name) == (word == "#ifdef"), false));
            }
            Some("#else") => match open.last_mut() {
                Some((taken, other @ false)) => (*taken, *other) = (!*taken, true),
                _ => return Err(at("#else without a condition")),
            },
            Some("#endif") => {
                open.pop().ok_or_else(|| at("#endif without a condition"))?;
            }
            Some(_) if open.iter().any(|(taken, _)| !taken) => {}
            Some("#for") => {
                let (Some(name), Some(count), None) = (words.next(), words.next().and_then(|count| count.parse::<usize>().ok()), words.next()) else {
                    return Err(at("a loop is `#for name count`"));
                };
                let length = body(&lines[at_line..]).ok_or_else(|| at("a loop is not closed by #end"))?;
                for turn in 0..count {
                    let turn = turn.to_string();
                    let lines: Vec<(usize, String)> =
                        lines[at_line..at_line + length].iter().map(|(number, line)| (*number, turned(line, name, &turn))).collect();
                    lines_into(text, &lines, defines, shared, imported)?;
                    if text.len() > BYTES {
                        return Err(at("too many turns"));
                    }
                }
                at_line += length + 1;
            }
            Some("#end") => return Err(at("#end without a loop")),
            Some("#import") => {
                let name = words.next().ok_or_else(|| at("an import without a name"))?;
                let (_, snippet) = shared.iter().find(|(known, _)| *known == name).ok_or_else(|| at(&format!("no shared/{name}.wgsl")))?;
                if !imported.iter().any(|known| known == name) {
                    imported.push(name.to_owned());
                    append(text, snippet, defines, shared, imported).map_err(|error| at(&format!("in shared/{name}.wgsl, {error}")))?;
                }
            }
            Some(word) if word.starts_with('#') => return Err(at(&format!("unknown directive {word}"))),
            Some(_) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err("a condition is not closed".into()) }
}

/// How many lines a loop has, up to its own `#end`.
fn body(lines: &[(usize, String)]) -> Option<usize> {
    let mut depth = 1;
    lines.iter().position(|(_, line)| {
        match line.split_whitespace().next() {
            Some("#for") => depth += 1,
            Some("#end") => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}
