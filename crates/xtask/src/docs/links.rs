//! Links between the pages of a site.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::process::{Failure, Result, while_doing};

/// Whether each link within the site leads to a file of it; links to other sites are not followed. `left_out`: folders of the site that were
/// not built, so that links into them are not looked at.
pub fn check(site: &Path, left_out: &[&str]) -> Result<()> {
    let mut pages = Vec::new();
    pages_in(site, &mut pages)?;
    let mut broken = BTreeSet::new();
    for page in &pages {
        let text = fs::read_to_string(page).map_err(while_doing(page.display()))?;
        // Signatures of rustdoc hold text that looks like nothing else; attributes are quoted everywhere.
        for link in ["href=\"", "src=\""].iter().flat_map(|opening| attributes(&text, opening)) {
            let Some(target) = target(site, page, link) else { continue };
            let within = target.strip_prefix(site).unwrap_or(&target);
            if left_out.iter().any(|folder| within.starts_with(folder)) || target.is_file() || target.join("index.html").is_file() {
                continue;
            }
            broken.insert(format!("{} links to {link}", page.strip_prefix(site).unwrap_or(page).display()));
        }
    }
    if broken.is_empty() {
        println!("{} pages, no broken link", pages.len());
        return Ok(());
    }
    broken.iter().for_each(|line| println!("{line}"));
    Err(Failure(format!("{} links have no file of the documentation", broken.len())))
}

fn pages_in(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(while_doing(folder.display()))? {
        let path = entry.map_err(while_doing(folder.display()))?.path();
        if path.is_dir() {
            pages_in(&path, pages)?;
        } else if path.extension().is_some_and(|ending| ending == "html") {
            pages.push(path);
        }
    }
    Ok(())
}

/// The values of an attribute in HTML.
fn attributes<'a>(text: &'a str, opening: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(opening).skip(1).filter_map(|rest| rest.split_once('"').map(|(value, _)| value))
}

/// The file that a link leads to; none for other sites, for places within the same page, and for what scripts fill in.
fn target(site: &Path, page: &Path, link: &str) -> Option<PathBuf> {
    let path = link.split(['#', '?']).next().unwrap_or_default();
    if path.is_empty() || path.contains(':') || path.starts_with("//") || path.contains("${") {
        return None;
    }
    let start = if path.starts_with('/') { site } else { page.parent()? };
    let mut target = PathBuf::new();
    for part in start.join(path.trim_start_matches('/')).components() {
        if part == Component::ParentDir {
            target.pop();
        } else {
            target.push(part);
        }
    }
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_within_a_site_are_told_from_others() {
        let (site, page) = (Path::new("/site"), Path::new("/site/a/b.html"));
        assert_eq!(target(site, page, "c.html#d"), Some(PathBuf::from("/site/a/c.html")));
        assert_eq!(target(site, page, "../c.html"), Some(PathBuf::from("/site/c.html")));
        assert_eq!(target(site, page, "/c.html"), Some(PathBuf::from("/site/c.html")));
        for other in ["https://example.org/c.html", "#d", "mailto:a@example.org", "//example.org", "data:image/png;base64,"] {
            assert_eq!(target(site, page, other), None, "{other}");
        }
        assert_eq!(attributes("<a href=\"x\"> <a href=\"y\">", "href=\"").collect::<Vec<_>>(), ["x", "y"]);
    }
}
