//! Pictures and captions: made from this machine's emoji, read from a folder, and turned into token ids.
//!
//! A *picture folder* is the one form in which pictures reach training (`picture_folder`); `emoji` makes one without a
//! network, `folder_check` looks at one before hours are spent on it, and `tokenizer` learns a vocabulary from its captions.

mod annotations;
mod emoji;
mod emoji_font;
mod error;
mod folder_check;
mod folder_files;
mod phrasings;
mod picture;
mod picture_folder;
mod resample;
mod tokenizer;
mod variation;

pub use emoji::{EmojiOptions, EmojiReport, EmojiSubset, make_emoji_folder};
pub use error::{DataError, DataErrorKind};
pub use folder_check::{CheckReport, Finding, check_picture_folder, contact_sheet};
pub use picture::square_pixels;
pub use picture_folder::{Entry, PictureFolder, Split};
pub use resample::resize_planes;
pub use tokenizer::{CaptionTokenizer, TokenizerOptions, unknown_characters};
