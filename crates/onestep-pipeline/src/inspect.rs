//! What a model is and what can be done with it, without reading weights.

use std::fmt;

use serde::Serialize;

use crate::{
    Part,
    pipeline::{Pipeline, Use},
};

/// A report about a model. It serialises to JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The path that was opened.
    pub path: String,
    /// The layout of its files.
    pub layout: &'static str,
    /// The class of the pipeline.
    pub class: Option<String>,
    /// The family, if it is one that is implemented.
    pub family: Option<&'static str>,
    /// [width, height] in pixels of the images that the configuration states.
    pub image: Option<[usize; 2]>,
    /// Its components.
    pub components: Vec<ComponentReport>,
    /// The class of its scheduler.
    pub scheduler: Option<String>,
    /// The files of its tokenizers.
    pub tokenizers: Vec<String>,
    /// Parameters of all components.
    pub parameters: u64,
    /// Bytes of all tensors as they are stored.
    pub bytes: u64,
    /// What can be done with it.
    pub uses: Vec<UseReport>,
}

/// A component in a [`Report`].
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// Its name in the pipeline.
    pub name: &'static str,
    /// Its class, if it could be opened.
    pub class: Option<&'static str>,
    /// Its parameters.
    pub parameters: u64,
    /// The types of its elements, most frequent first.
    pub elements: Vec<&'static str>,
    /// Bytes of its tensors as they are stored.
    pub bytes: u64,
    /// How its weights are stored.
    pub layout: String,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// A use in a [`Report`].
#[derive(Clone, Debug, Serialize)]
pub struct UseReport {
    /// The command.
    pub name: &'static str,
    /// Why it is not possible.
    pub error: Option<String>,
}

impl Report {
    /// Reports about a model. Configurations and headers were read when it was opened.
    pub fn new(pipeline: &Pipeline) -> Self {
        let components: Vec<ComponentReport> = Part::ALL.into_iter().filter_map(|part| of_component(pipeline, part)).collect();
        let uses = Use::ALL.into_iter().map(|wanted| UseReport {
            name: wanted.name(),
            error: pipeline.check_for(wanted).and_then(|()| of_tokenizers(pipeline)).err().map(|error| error.to_string()),
        });
        let class_of = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok()?.get("_class_name")?.as_str().map(str::to_owned);
        let tokenizers = [Part::TextEncoder, Part::TextEncoder2].into_iter().filter_map(|part| pipeline.tokenizer(part).ok());
        Self {
            path: pipeline.path().display().to_string(),
            layout: pipeline.layout().name(),
            class: pipeline.class().map(str::to_owned),
            family: pipeline.family().ok().map(|family| family.name()),
            image: pipeline.sizes(None).ok().map(|sizes| [sizes.image[1], sizes.image[0]]),
            scheduler: pipeline.scheduler_text().ok().and_then(class_of),
            tokenizers: tokenizers.map(|tokenizer| tokenizer.files.join(", ")).collect(),
            parameters: components.iter().map(|component| component.parameters).sum(),
            bytes: components.iter().map(|component| component.bytes).sum(),
            components,
            uses: uses.collect(),
        }
    }
}

fn of_tokenizers(pipeline: &Pipeline) -> Result<(), crate::PipelineError> {
    let encoders = pipeline.parts().iter().filter(|part| matches!(part, Part::TextEncoder | Part::TextEncoder2));
    encoders.into_iter().try_for_each(|part| pipeline.check_tokenizer(*part))
}

fn of_component(pipeline: &Pipeline, part: Part) -> Option<ComponentReport> {
    let mut report =
        ComponentReport { name: part.name(), class: None, parameters: 0, elements: Vec::new(), bytes: 0, layout: String::new(), error: None };
    match pipeline.component(part) {
        Ok(component) => {
            report.class = Some(component.class().name());
            report.layout = component.layout().to_owned();
            match component.weights() {
                Ok(weights) => {
                    report.parameters = weights.total_parameters();
                    report.bytes = weights.total_bytes();
                    report.elements = weights.elements().into_iter().map(|(element, _)| element.name()).collect();
                }
                Err(error) => report.error = Some(error.to_string()),
            }
        }
        Err(error) if pipeline.has(part) => report.error = Some(error.to_string()),
        Err(_) => return None,
    }
    Some(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.layout)?;
        for told in [self.class.as_deref(), self.family].into_iter().flatten() {
            write!(f, " · {told}")?;
        }
        if let Some([width, height]) = self.image {
            write!(f, " · {width}×{height} pixels")?;
        }
        writeln!(f)?;
        for component in &self.components {
            write!(f, "  {:16}", component.name)?;
            if let Some(class) = component.class {
                write!(f, "{class}")?;
            }
            match &component.error {
                None => writeln!(
                    f,
                    " · {} parameters · {} · {} bytes · {}",
                    component.parameters,
                    component.elements.join(" and "),
                    component.bytes,
                    component.layout
                )?,
                Some(error) => writeln!(f, " · cannot be used: {error}")?,
            }
        }
        if let Some(scheduler) = &self.scheduler {
            writeln!(f, "  {:16}{scheduler}", "scheduler")?;
        }
        for files in &self.tokenizers {
            writeln!(f, "  {:16}{files}", "tokenizer")?;
        }
        writeln!(f, "  {:16}{} parameters · {} bytes", "together", self.parameters, self.bytes)?;
        for (number, one) in self.uses.iter().enumerate() {
            let end = if number + 1 < self.uses.len() { "\n" } else { "" };
            match &one.error {
                None => write!(f, "{:8} yes{end}", one.name)?,
                Some(error) => write!(f, "{:8} no: {error}{end}", one.name)?,
            }
        }
        Ok(())
    }
}
