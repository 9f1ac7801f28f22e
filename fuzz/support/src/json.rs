//! Mutations of JSON that stay valid JSON, because random bytes hardly pass a parser.

use fastrand::Rng;
use serde_json::{Value, json};

/// Mutates one to four values of the JSON at the beginning of `data[..size]`; bytes after the first NUL stay. Returns the new size, or `None` if
/// there is no JSON or the result is larger than `most`.
pub fn mutate(data: &mut [u8], size: usize, most: usize, seed: u32) -> Option<usize> {
    let bytes = data.get(..size)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(size);
    let rest = bytes[end..].to_vec();
    let mut json: Value = serde_json::from_slice(&bytes[..end]).ok()?;
    let mut random = Rng::with_seed(u64::from(seed));
    for _ in 0..random.usize(1..=4) {
        let parts = count(&json);
        let (from, to) = (random.usize(..parts), random.usize(..parts));
        let donor = part(&mut json, &mut from.clone())?.clone();
        change(part(&mut json, &mut to.clone())?, donor, &mut random);
    }
    let written = serde_json::to_vec(&json).ok()?;
    let length = written.len() + rest.len();
    let target = data.get_mut(..length).filter(|_| length <= most)?;
    target[..written.len()].copy_from_slice(&written);
    target[written.len()..].copy_from_slice(&rest);
    Some(length)
}

fn count(json: &Value) -> usize {
    1 + match json {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(entries) => entries.values().map(count).sum(),
        _ => 0,
    }
}

/// The value of this number, counted from the root in depth-first order.
fn part<'a>(json: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(json);
    }
    *left -= 1;
    match json {
        Value::Array(items) => items.iter_mut().find_map(|item| part(item, left)),
        Value::Object(entries) => entries.values_mut().find_map(|item| part(item, left)),
        _ => None,
    }
}

fn change(value: &mut Value, donor: Value, random: &mut Rng) {
    let choice = random.usize(..8);
    match value {
        Value::Number(number) if choice < 5 => {
            let integer = number.as_i64().unwrap_or(0);
            let large = [0, 1, 2, 3, -1, 1 << 16, 1 << 24, 1 << 31, 1 << 32, i64::MAX][random.usize(..10)];
            *value = match choice {
                0 => json!(integer.wrapping_add(1)),
                1 => json!(integer.wrapping_sub(1)),
                2 => json!(integer.wrapping_mul(2)),
                3 => json!(number.as_f64().unwrap_or(1.0) * [0.5, -1.0, 1e39, 1e300][random.usize(..4)]),
                _ => json!(large),
            };
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Array(items) if choice < 5 => {
            let at = random.usize(..items.len().max(1));
            match (choice, items.get(at).cloned()) {
                (0, Some(_)) => drop(items.remove(at)),
                (1, Some(item)) => items.insert(at, item),
                (2, Some(_)) => {
                    let other = random.usize(..items.len().max(1));
                    items.swap(at, other);
                }
                _ => items.push(donor),
            }
        }
        Value::Object(entries) if choice < 4 => {
            let at = random.usize(..entries.len().max(1));
            let Some(key) = entries.keys().nth(at).cloned() else { return };
            match choice {
                0 => drop(entries.remove(&key)),
                1 => drop(entries.insert(format!("{key}{}", random.usize(..3)), donor)),
                _ => drop(entries.insert(key, donor)),
            }
        }
        Value::String(text) if choice < 3 => {
            let end = text.char_indices().nth(random.usize(..text.chars().count() + 1)).map_or(text.len(), |(at, _)| at);
            match choice {
                0 => text.truncate(end),
                1 => text.insert_str(end, ["a", " ", "é", "\u{301}", "</w>", "\\", "\u{0}"][random.usize(..7)]),
                _ => *text = text.repeat(2),
            }
        }
        _ => *value = donor,
    }
}
