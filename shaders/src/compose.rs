//! The preprocessor of the kernels; `README.md` describes its directives.
//!
//! `#for` unrolls loops in the text because drivers that do not unroll a shader's own loop keep an accumulator array that it indexes in memory
//! instead of registers. naga_oil and WESL have no unrolling, hence this module.

/// The largest text that one kernel may unroll to, in bytes: a mistaken count is refused.
const MAX_BYTES: usize = 1 << 20;

/// True if a name is defined, with a value or without.
fn is_defined(defines: &[&str], name: &str) -> bool {
    defines.iter().any(|define| define.split('=').next() == Some(name))
}

/// Replaces `{NAME}` by the value of the definition `NAME=value`.
fn insert_values(line: &str, defines: &[&str]) -> String {
    let values = defines.iter().filter_map(|define| define.split_once('='));
    values.fold(line.to_owned(), |line, (name, value)| line.replace(&format!("{{{name}}}"), value))
}

/// Replaces `{name}` by a loop's number, also as a term of a sum, and `{sum}` of two numbers by its value.
fn insert_index(line: &str, name: &str, number: &str) -> String {
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

/// The WGSL text of a kernel with its imports, without comments and indentation.
///
/// `defines` are names or `NAME=value`; `shared` are the snippets by name. An error names the line.
pub fn compose(kernel: &str, defines: &[&str], shared: &[(&str, &str)]) -> Result<String, String> {
    let mut text = String::new();
    append(&mut text, kernel, defines, shared, &mut Vec::new())?;
    Ok(text)
}

fn append(text: &mut String, source: &str, defines: &[&str], shared: &[(&str, &str)], imported: &mut Vec<String>) -> Result<(), String> {
    let lines: Vec<(usize, String)> = source.lines().enumerate().map(|(number, line)| (number + 1, insert_values(line.trim(), defines))).collect();
    append_lines(text, &lines, defines, shared, imported)
}

fn append_lines(
    text: &mut String,
    lines: &[(usize, String)],
    defines: &[&str],
    shared: &[(&str, &str)],
    imported: &mut Vec<String>,
) -> Result<(), String> {
    // For every open condition: is its current branch taken, and has its `#else` come?
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut next = 0;
    while let Some((number, line)) = lines.get(next) {
        next += 1;
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
                let length = loop_length(&lines[next..]).ok_or_else(|| at("a loop is not closed by #end"))?;
                for index in 0..count {
                    let index = index.to_string();
                    let lines: Vec<(usize, String)> =
                        lines[next..next + length].iter().map(|(number, line)| (*number, insert_index(line, name, &index))).collect();
                    append_lines(text, &lines, defines, shared, imported)?;
                    if text.len() > MAX_BYTES {
                        return Err(at("the loop unrolls to more than a MiB"));
                    }
                }
                next += length + 1;
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

/// The number of lines of a loop, up to its own `#end`.
fn loop_length(lines: &[(usize, String)]) -> Option<usize> {
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
