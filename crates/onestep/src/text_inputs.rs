//! Prompts as inputs of the text encoder: the ids of one or two tokenizers.

use onestep_program::{Outline, TensorRef};

use crate::{
    error::Result,
    ports::{self, END_OF_TEXT, INPUT_IDS, INPUT_IDS_2},
    prompt::{Prompt, PromptReader},
};

/// Reads prompts for one model.
#[derive(Clone, Debug)]
pub(crate) struct TextReader {
    first: PromptReader,
    second: Option<PromptReader>,
    /// The second encoder reads the pooled state at the first position of this id; `None` for the largest id.
    end_of_text: Option<u32>,
}

/// The inputs of the text encoder's program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextInputs {
    ids: Vec<i32>,
    /// Of models with two encoders: the ids of the second one, and 1 at the position of the pooled state.
    second: Option<(Vec<i32>, Vec<f32>)>,
}

impl TextReader {
    /// Checks the ports of the programs and the tokenizers.
    pub(crate) fn new(bundle: &Outline) -> Result<Self> {
        let vocabularies = ports::check(bundle)?;
        let manifest = bundle.manifest();
        let tokens = manifest.generation.prompt_tokens;
        let mut readers = Vec::new();
        for ((bytes, name), rows) in bundle.tokenizers().iter().zip(manifest.tokenizers()).zip(vocabularies) {
            readers.push(PromptReader::new(bytes, name, tokens, rows)?);
        }
        let mut readers = readers.into_iter();
        let (Some(first), second) = (readers.next(), readers.next()) else { return Err(ports::no_tokenizer().into()) };
        Ok(Self { first, second, end_of_text: manifest.generation.end_of_text })
    }

    /// Tokenizes a prompt. Counts are those of the encoder that needs more tokens.
    pub(crate) fn read(&self, text: &str) -> Result<Prompt> {
        let mut prompt = self.first.read(text)?;
        if let Some(second) = &self.second {
            let other = second.read(text)?;
            prompt.unknown.retain(|character| other.unknown.contains(character));
            prompt.truncated |= other.truncated;
            prompt.tokens = prompt.tokens.max(other.tokens);
            prompt.ids_2 = other.ids;
        }
        Ok(prompt)
    }

    /// The inputs for a prompt that [`read`](Self::read) gave.
    pub(crate) fn inputs(&self, prompt: &Prompt) -> TextInputs {
        let second = self.second.as_ref().map(|_| {
            let ids = prompt.ids_2.clone();
            // As CLIP pools: at the first of equal ids, and at the start if the id does not occur.
            let wanted = self.end_of_text.map_or_else(|| ids.iter().copied().max(), |id| i32::try_from(id).ok());
            let position = ids.iter().position(|id| Some(*id) == wanted).unwrap_or(0);
            let one_hot = (0..ids.len()).map(|at| if at == position { 1.0 } else { 0.0 }).collect();
            (ids, one_hot)
        });
        TextInputs { ids: prompt.ids.clone(), second }
    }
}

impl TextInputs {
    /// The input ports with their elements.
    pub(crate) fn ports(&self) -> Vec<(&'static str, TensorRef<'_>)> {
        let mut ports = vec![(INPUT_IDS, TensorRef::I32(&self.ids))];
        if let Some((ids, one_hot)) = &self.second {
            ports.extend([(INPUT_IDS_2, TensorRef::I32(ids)), (END_OF_TEXT, TensorRef::F32(one_hot))]);
        }
        ports
    }
}
