//! The words that this repository replaces, and the standard terms that it uses instead.

/// Where a word is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scope {
    /// In code, comments and documents.
    Everywhere,
    /// In code outside of comments: identifiers, keys, options, file names, messages.
    Names,
    /// In components of CamelCase names.
    Types,
    /// In documents and comments.
    Prose,
}

/// Words that are replaced by one term.
#[derive(Debug)]
pub struct Rule {
    /// Lower case. One word, or several with single spaces between them.
    pub words: &'static [&'static str],
    pub instead: &'static str,
    pub scope: Scope,
    /// Path prefixes to which the rule is limited; empty for the whole repository.
    pub only: &'static [&'static str],
    /// Path prefixes where the word means something else.
    pub except: &'static [&'static str],
}

const fn rule(words: &'static [&'static str], instead: &'static str, scope: Scope) -> Rule {
    Rule { words, instead, scope, only: &[], except: &[] }
}

impl Rule {
    const fn only(mut self, only: &'static [&'static str]) -> Self {
        self.only = only;
        self
    }

    const fn except(mut self, except: &'static [&'static str]) -> Self {
        self.except = except;
        self
    }
}

/// The crates in which the planner's and the executor's words are looked for.
const PLANNER: &[&str] = &["crates/onestep-runtime/", "shaders/"];

/// Captions of training data and texts that people read on the page: ordinary English, no terms.
pub const ORDINARY_ENGLISH: &[&str] = &[
    "LICENSE",
    "crates/onestep-train/src/data/phrasings.rs",
    "crates/onestep-train/src/data/starter.txt",
    "crates/xtask/src/vocabulary/",
    "fuzz/formats/corpus/",
    "fuzz/networks/corpus/",
    "index.html",
    "models/emoji/tokenizer.json",
    "models/emoji/gallery.json",
    "tests/fixtures/",
    "web/page/sentences.js",
];

use Scope::{Everywhere, Names, Prose, Types};

pub const RULES: &[Rule] = &[
    rule(&["picture", "pictures"], "image", Everywhere),
    rule(&["draw", "draws", "drawn", "drew", "drawing", "drawings"], "generate; sample (a teacher, a random number); render (a plot)", Everywhere),
    rule(&["graphics processor", "processor", "processors"], "GPU, CPU", Everywhere),
    rule(&["things"], "class labels, `labels`", Everywhere),
    rule(&["believed", "doubted"], "`loss_real`, `loss_fake`", Everywhere),
    rule(&["judge", "judges", "judged", "judging"], "`discriminator_step`; classify", Everywhere),
    rule(&["lead", "led"], "`generator_step`; train with", Names),
    rule(&["led by", "leads noise", "lead noise", "leads the student"], "trained with, the loss", Prose),
    rule(&["game", "games"], "adversarial training, `AdversarialOptions`", Everywhere).except(&["CODE_OF_CONDUCT"]),
    rule(&["true rows", "false rows", "logit true", "logit false"], "real and fake samples, `real_logits`, `fake_logits`", Everywhere),
    rule(&["what it computes in"], "compute dtype", Everywhere),
    rule(&["share", "shares"], "fraction", Names),
    rule(&["equal say"], "normalised heads", Everywhere),
    rule(&["heads set on different"], "recalibrated LPIPS heads", Everywhere),
    rule(&["artist", "artists", "studio", "studios"], "sampler", Everywhere),
    rule(&["shown", "drawn", "given", "asked", "opened", "finding", "facts"], "what the type holds", Types),
    rule(&["by heart"], "memorised", Everywhere),
    rule(&["to the bit", "bit by bit"], "bit-identical", Everywhere),
    rule(&["gone on with", "go on with", "goes on with", "going on with"], "resume", Everywhere),
    rule(&["averages 16", "16 averages"], "16×16 box-downsampled pixels", Everywhere),
    rule(&["tenant", "tenants"], "allocation", Everywhere),
    rule(&["place", "places"], "index, offset, location", Names),
    rule(&["apart"], "deferred bias", Names),
    rule(&["narrow", "narrowed", "halves"], "f16 activations, f16 weights", Names).only(PLANNER),
    rule(&["tall", "wide", "form", "forms"], "128-row tile, N columns per thread, kernel variant", Names).only(PLANNER),
    rule(&["unit", "units"], "channel block", Names).only(PLANNER),
    rule(&["kept"], "persistent buffers", Names).only(PLANNER),
    rule(&["sentinel", "sentinels"], "non-finite check", Everywhere),
    rule(&["blind to", "blind for"], "insensitive to", Everywhere),
    rule(&["piece", "pieces"], "chunk", Everywhere),
    rule(&["shelf", "shelves"], "model cache, `ModelPool`", Everywhere),
    rule(
        &["of its own", "of their own", "of your own", "of our own", "an own", "of ours", "of yours", "of theirs"],
        "separate, private, your",
        Prose,
    ),
    rule(&["kin", "beside", "lies", "aside", "whose"], "plain words", Prose),
];

/// Uses of a replaced word by others: names of their interfaces and formats. A line with one of these is not looked at for that word.
pub const OTHERS: &[(&str, &[&str])] = &[
    ("draw", &["drawImage", "ImageDraw", "draw_text", "ProgressDrawTarget", "set_draw_target", ".draw(", "fn draw", ".draw_series", "draw_mesh"]),
    ("drawing", &["DrawingArea", "DrawingBackend", "drawingBuffer", "into_drawing_area", "drawing::"]),
    ("picture", &["picture-classifier"]),
    ("piece", &["WordPiece"]),
    (
        "processor",
        &["post_processor", "PostProcessor", "postProcessor", "post-processor", "preprocessor", "Xeon(R) Processor", ".processor.", "\".processor\""],
    ),
    ("processors", &["\"processors\"", "post-processors", "processors::", "tokenizers.processors"]),
    ("judge", &["\"judge\"", "/judge", "p1 and judge", "judge/"]),
    ("share", &["/share", "usr/share"]),
];
