//! The special tokens around every prompt.

use serde_json::Value;

/// Ids before and after those of the text, by the `post_processor` of a `tokenizer.json`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub before: Vec<u32>,
    pub after: Vec<u32>,
}

impl Template {
    /// Reads a post-processor; parts that the crate `onestep` refuses are passed over here.
    pub fn read(post_processor: &Value) -> Self {
        let mut template = Self::default();
        template.add(post_processor);
        template
    }

    /// Wraps the text and the tokens so far. JSON is nested no deeper than its limit.
    fn add(&mut self, part: &Value) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        match part["type"].as_str() {
            Some("Sequence") => part["processors"].as_array().into_iter().flatten().for_each(|part| self.add(part)),
            Some("RobertaProcessing" | "BertProcessing") => {
                before.extend(id(&part["cls"][1]));
                after.extend(id(&part["sep"][1]));
            }
            Some("TemplateProcessing") => {
                let mut side = &mut before;
                for item in part["single"].as_array().into_iter().flatten() {
                    match item["SpecialToken"]["id"].as_str() {
                        Some(token) => side.extend(part["special_tokens"][token]["ids"].as_array().into_iter().flatten().filter_map(id)),
                        None => side = &mut after,
                    }
                }
            }
            _ => {}
        }
        before.append(&mut self.before);
        self.before = before;
        self.after.append(&mut after);
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_of_all_kinds_give_their_ids() {
        let roberta = json!({ "type": "RobertaProcessing", "sep": ["e", 7], "cls": ["s", 6] });
        let ids = json!({ "s": { "id": "s", "ids": [6], "tokens": ["s"] }, "e": { "id": "e", "ids": [7, 8], "tokens": ["e", "f"] } });
        let single = json!([{ "SpecialToken": { "id": "s", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "e", "type_id": 0 } }]);
        let general = json!({ "type": "TemplateProcessing", "single": single, "special_tokens": ids });
        assert_eq!(Template::read(&roberta), Template { before: vec![6], after: vec![7] });
        assert_eq!(Template::read(&general), Template { before: vec![6], after: vec![7, 8] });
        let both = json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, roberta, general] });
        assert_eq!(Template::read(&both), Template { before: vec![6, 6], after: vec![7, 7, 8] });
        assert_eq!(Template::read(&json!({ "type": "RobertaProcessing", "sep": 3 })).len(), 0);
        assert_eq!(Template::read(&Value::Null).len(), 0);
    }
}
