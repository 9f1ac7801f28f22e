//! Captions of an emoji, made deterministically from its name and keywords; some are held out for evaluation.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::annotations::Annotation;

/// The captions of an emoji.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrasings {
    /// Used in training; the name comes first.
    pub train: Vec<String>,
    /// Kept for evaluation; at least one, and none of them trained on with any image of the set.
    pub held_out: Vec<String>,
}

/// Sentences around a name. `{n}` is the bare name, `{x}` the name with its article.
const TEMPLATES: [&str; 14] = [
    "emoji of {x}",
    "an emoji of {x}",
    "{n} emoji",
    "a picture of {x}",
    "picture of {x}",
    "an icon of {x}",
    "{n} icon",
    "a drawing of {x}",
    "an image of {x}",
    "a small picture of {x}",
    ON_WHITE,
    "draw {x}",
    "show me {x}",
    "a simple drawing of {x}",
];
/// Only for sets in which it is true.
const ON_WHITE: &str = "{x} on a white background";
const HELD_OUT_TEMPLATES: usize = 3;
const KEYWORDS_USED: usize = 5;

/// The phrasings of a whole set, in its order. They are made together because a phrase that would fit two images is given to neither.
/// `on_white`: whether that is what is behind the images.
pub(super) fn phrasings(set: &[Annotation], on_white: bool) -> Vec<Phrasings> {
    let mut keyword_owners: BTreeMap<&str, usize> = BTreeMap::new();
    for annotation in set {
        for keyword in annotation.keywords.iter().map(String::as_str).collect::<BTreeSet<_>>() {
            *keyword_owners.entry(keyword).or_default() += 1;
        }
    }
    let mut all: Vec<Phrasings> = set.iter().map(|a| candidates(a, on_white, |keyword| keyword_owners.get(keyword) == Some(&1))).collect();

    let names: BTreeSet<&str> = set.iter().map(|a| a.name.as_str()).collect();
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for phrase in all.iter().flat_map(|p| p.train.iter().chain(&p.held_out)) {
        *owners.entry(phrase.clone()).or_default() += 1;
    }
    for (annotation, phrasings) in set.iter().zip(&mut all) {
        let fits_one = |phrase: &String| *phrase == annotation.name || (owners.get(phrase) == Some(&1) && !names.contains(phrase.as_str()));
        phrasings.train.retain(fits_one);
        phrasings.held_out.retain(fits_one);
        if phrasings.held_out.is_empty() && phrasings.train.len() > 1 {
            phrasings.held_out.extend(phrasings.train.pop());
        }
    }
    all
}

/// The phrasings of one emoji, before those that fit another one as well are taken out.
fn candidates(annotation: &Annotation, on_white: bool, is_unique: impl Fn(&str) -> bool) -> Phrasings {
    let name = natural(&annotation.name);
    let with_article = with_article(&name);
    let mut train = vec![annotation.name.clone(), name.clone(), with_article.clone()];
    if let Some(country) = annotation.name.strip_prefix("flag: ") {
        train.push(format!("{country} flag"));
    }
    let templates = TEMPLATES.iter().filter(|&&template| on_white || template != ON_WHITE);
    let filled: Vec<String> = templates.map(|t| t.replace("{n}", &name).replace("{x}", &with_article)).collect();
    let (mut held_out, kept) = split_by_hash(filled, &annotation.name, HELD_OUT_TEMPLATES);
    train.extend(kept);

    let keywords: Vec<&str> =
        annotation.keywords.iter().map(String::as_str).filter(|k| !words(&name).is_superset(&words(k))).take(KEYWORDS_USED).collect();
    let mut combined: Vec<String> = keywords.iter().map(|k| format!("{name}, {k}")).collect();
    combined.extend(keywords.iter().map(|k| format!("{k}, {name}")));
    combined.extend(keywords.windows(2).map(|k| format!("{name}, {}, {}", k[0], k[1])));
    let hold = combined.len() / 4;
    let (held, kept) = split_by_hash(combined, &annotation.name, hold);
    held_out.extend(held);
    train.extend(kept);

    for keyword in annotation.keywords.iter().filter(|k| k.chars().count() >= 3 && is_unique(k)) {
        train.push(keyword.clone());
    }
    let mut seen = BTreeSet::new();
    train.retain(|p| seen.insert(p.clone()));
    held_out.retain(|p| seen.insert(p.clone()));
    Phrasings { train, held_out }
}

/// The `count` phrases with the smallest SHA-256 together with the name, and the rest, both in the given order.
fn split_by_hash(phrases: Vec<String>, name: &str, count: usize) -> (Vec<String>, Vec<String>) {
    let mut ranked: Vec<_> = phrases
        .iter()
        .enumerate()
        .map(|(index, phrase)| {
            let mut hash = Sha256::new();
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(phrase.as_bytes());
            (hash.finalize(), index)
        })
        .collect();
    ranked.sort();
    let chosen: BTreeSet<usize> = ranked.iter().take(count).map(|(_, index)| *index).collect();
    let (mut held, mut kept) = (Vec::new(), Vec::new());
    for (index, phrase) in phrases.into_iter().enumerate() {
        if chosen.contains(&index) { held.push(phrase) } else { kept.push(phrase) }
    }
    (held, kept)
}

/// A CLDR name as one would say it: "flag: france" becomes "flag of france", "ninja: dark skin tone" "ninja with dark skin tone".
fn natural(name: &str) -> String {
    let Some((what, which)) = name.split_once(": ") else { return name.to_owned() };
    match what {
        "flag" => format!("flag of {which}"),
        "family" => format!("family of {which}"),
        _ if ["skin tone", "hair", "beard", "bald"].iter().any(|w| which.contains(w)) => format!("{what} with {which}"),
        _ => format!("{what} {which}"),
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect()
}

/// Last words of names that take no article.
const WITHOUT_ARTICLE: [&str; 17] = [
    "bacon", "bread", "broccoli", "butter", "claus", "fire", "garlic", "ginger", "ice", "luggage", "popcorn", "rice", "salt", "sushi", "tennis",
    "voltage", "water",
];

/// "a red heart", "an apple", "grapes".
fn with_article(name: &str) -> String {
    let head = [" with ", " of ", " in ", " on ", " over ", " behind ", " from ", ", "]
        .iter()
        .filter_map(|cut| name.find(cut))
        .min()
        .map_or(name, |at| &name[..at]);
    let first = head.split([' ', '-']).next().unwrap_or(head);
    let last = head.rsplit([' ', '-']).next().unwrap_or(head);
    let plural = last.len() > 2 && last.ends_with('s') && !["ss", "us", "is"].iter().any(|e| last.ends_with(e));
    let counted = ["a", "an", "the", "two", "three", "one", "no", "mr", "mrs", "mr.", "mrs."].contains(&first);
    if plural || counted || WITHOUT_ARTICLE.contains(&last) || name.is_empty() {
        return name.to_owned();
    }
    let sounds_open = match first {
        w if ["uni", "eu", "uk", "us", "ut", "one"].iter().any(|p| w.starts_with(p)) => false,
        w if w.starts_with("hour") || w == "x" || w == "x-ray" || w.starts_with('8') || w == "11" || w == "18" => true,
        w => w.starts_with(['a', 'e', 'i', 'o', 'u']),
    };
    format!("{} {name}", if sounds_open { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(name: &str, keywords: &[&str]) -> Annotation {
        Annotation { name: name.into(), keywords: keywords.iter().map(|&k| k.into()).collect() }
    }

    #[test]
    fn articles() {
        for (name, want) in [
            ("red heart", "a red heart"),
            ("owl", "an owl"),
            ("unicorn", "a unicorn"),
            ("grapes", "grapes"),
            ("octopus", "an octopus"),
            ("face with tears of joy", "a face with tears of joy"),
            ("ear of corn", "an ear of corn"),
            ("thumbs up", "a thumbs up"),
            ("glass of milk", "a glass of milk"),
            ("french fries", "french fries"),
            ("bus", "a bus"),
            ("hourglass done", "an hourglass done"),
        ] {
            assert_eq!(with_article(name), want);
        }
    }

    #[test]
    fn names_are_said_naturally() {
        assert_eq!(natural("flag: france"), "flag of france");
        assert_eq!(natural("woman: light skin tone, red hair"), "woman with light skin tone, red hair");
        assert_eq!(natural("keycap: 1"), "keycap 1");
    }

    #[test]
    fn a_shared_keyword_never_stands_alone() {
        let set = [annotation("red heart", &["heart", "affection"]), annotation("blue heart", &["heart", "loyalty"]), annotation("loyalty", &[])];
        let all = phrasings(&set, true);
        assert!(all[0].train.contains(&"affection".to_owned()));
        assert!(all.iter().all(|p| !p.train.contains(&"heart".to_owned())));
        assert!(!all[1].train.contains(&"loyalty".to_owned()), "the name of another one");
        assert!(all[2].train.contains(&"loyalty".to_owned()));
        assert_eq!(all[0].train[0], "red heart");
        let on_white =
            |all: &[Phrasings]| all.iter().flat_map(|p| p.train.iter().chain(&p.held_out)).filter(|p| p.ends_with("on a white background")).count();
        assert_eq!((on_white(&all), on_white(&phrasings(&set, false))), (3, 0));
        assert!(all[0].train.contains(&"a red heart".to_owned()));
    }

    #[test]
    fn held_out_phrasings_are_never_trained_on_and_always_there() {
        let set = [annotation("a", &["b", "c", "d"]), annotation("b", &["a"]), annotation("c, a", &[]), annotation("a, c", &["a"])];
        let all = phrasings(&set, true);
        let trained: BTreeSet<&String> = all.iter().flat_map(|p| &p.train).collect();
        for p in &all {
            assert!(!p.train.is_empty() && !p.held_out.is_empty());
            assert!(p.held_out.iter().all(|h| !trained.contains(h)));
        }
        assert_eq!(all, phrasings(&set, true));
    }
}
