//! Self-contained HTML pages: they need neither network nor script. `maud` escapes every value.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{chart, error::TrainError};

/// Light and dark, one column; wide tables scroll by themselves on narrow screens.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1f;--paper:#fff;--faint:#6b6b76;--line:#d9d9e0;--mark:#c2410c}\
@media(prefers-color-scheme:dark){:root{--ink:#ececf1;--paper:#16161a;--faint:#a0a0ac;--line:#3a3a44;--mark:#fb923c}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:1.5rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}h1,h2{line-height:1.25}p,figcaption,li{max-width:44rem}\
pre{overflow:auto;background:#8881;padding:.5rem}img{max-width:100%;height:auto}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}\
tr.student{font-weight:600}\
th,td{padding:.3rem .7rem .3rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}figure{margin:1rem 0}figcaption,.faint{color:var(--faint);font-size:.9rem}\
.plots{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}.plots figure{margin:0}\
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.3rem 0}\
.strip{margin:.5rem 0}.strip img{display:block;width:100%;max-width:33rem;background:#fff}";

/// Writes a page with this title and body.
///
/// # Errors
/// Storage.
pub fn write(path: &Path, title: &str, body: &Markup) -> Result<(), TrainError> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(chart::style())) }
            }
            body { (body) }
        }
    };
    Ok(onestep_store::replace_file(path, page.into_string().as_bytes())?)
}

/// The bytes of a PNG as a `data:` address.
pub fn png_source(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png))
}
