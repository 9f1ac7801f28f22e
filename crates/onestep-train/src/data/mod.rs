//! Images and captions: made from this machine's emoji, read from a folder, and turned into token ids.
//!
//! A *image folder* is the one form in which images reach training (`image_folder`); `emoji` makes one without a
//! network, `folder_check` looks at one before hours are spent on it, and `tokenizer` learns a vocabulary from its captions.

mod annotations;
mod emoji;
mod emoji_font;
mod error;
mod folder_check;
mod folder_files;
mod image;
mod image_folder;
mod phrasings;
mod resample;
mod tokenizer;
mod variation;

pub use emoji::{EmojiOptions, EmojiReport, EmojiSubset, make_emoji_folder};
pub use error::{DataError, DataErrorKind};
pub use folder_check::{CheckReport, Finding, check_image_folder, contact_sheet};
pub use image::square_pixels;
pub use image_folder::{Entry, ImageFolder, Split};
pub use resample::resize_planes;
pub use tokenizer::{CaptionTokenizer, TokenizerOptions, unknown_characters};
