//! Training data: images with captions, and the tokenizer of the captions.
//!
//! Training reads *image folders* ([`ImageFolder`]). [`make_emoji_folder`] makes one from the installed emoji font, [`check_image_folder`]
//! reports problems of one, and [`CaptionTokenizer`] learns a vocabulary from its captions.

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
pub use folder_check::{CheckReport, ImageProblem, check_image_folder, contact_sheet};
pub use image::square_pixels;
pub use image_folder::{ImageEntry, ImageFolder, Split, training_captions};
pub use resample::{pixels_of_size, resize_planes};
pub use tokenizer::{CaptionTokenizer, LongCaptions, TokenizerOptions};
