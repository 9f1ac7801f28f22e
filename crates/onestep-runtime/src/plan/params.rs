//! A kernel's uniform, filled by field name with the layout that the shader declares.

use onestep_shaders::{FieldKind, Kernel};

use crate::error::RunError;

/// The uniform of one dispatch while its fields are set. The first mistake is kept and reported by [`finish`](Self::finish).
#[derive(Clone)]
pub(crate) struct Params {
    kernel: &'static Kernel,
    bytes: Vec<u8>,
    missing: Vec<&'static str>,
    error: Option<RunError>,
}

impl Params {
    pub(crate) fn new(kernel: &'static Kernel) -> Self {
        Self { kernel, bytes: vec![0; kernel.params_size as usize], missing: kernel.params.iter().map(|field| field.name).collect(), error: None }
    }

    /// Sets a u32.
    pub(crate) fn set(&mut self, name: &str, value: usize) {
        self.list(name, &[value]);
    }

    /// Sets a u32 to 1 for true, 0 for false.
    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.list(name, &[usize::from(value)]);
    }

    /// Sets the first entries of a u32 list; the others stay zero.
    pub(crate) fn list(&mut self, name: &str, values: &[usize]) {
        let mut words = Vec::with_capacity(values.len());
        for &value in values {
            match u32::try_from(value) {
                Ok(word) => words.push(word.to_le_bytes()),
                Err(_) => return self.fail(RunError::unsupported(format!("{name} of {}: {value} exceeds 32 bits", self.kernel.name))),
            }
        }
        self.write(name, FieldKind::U32, &words);
    }

    /// Sets an i32.
    pub(crate) fn integer(&mut self, name: &str, value: i32) {
        self.write(name, FieldKind::I32, &[value.to_le_bytes()]);
    }

    /// Sets an f32.
    pub(crate) fn float(&mut self, name: &str, value: f32) {
        self.write(name, FieldKind::F32, &[value.to_le_bytes()]);
    }

    /// The entries of a u32 list, or the one of a u32; none if the kernel has no such field.
    pub(crate) fn entries(&self, name: &str) -> Vec<usize> {
        let field = self.kernel.params.iter().find(|field| field.name == name);
        let words = field.and_then(|field| self.bytes.get(field.offset as usize..)?.get(..4 * field.count as usize)).unwrap_or_default();
        words.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize).collect()
    }

    /// A u32 that was set; 0 if the kernel has no such field.
    pub(crate) fn get(&self, name: &str) -> usize {
        self.entries(name).first().copied().unwrap_or(0)
    }

    /// Makes them those of another kernel; its fields must begin with the fields of this one.
    pub(crate) fn extend(&mut self, kernel: &'static Kernel) {
        self.missing.extend(kernel.params.iter().skip(self.kernel.params.len()).map(|field| field.name));
        self.bytes.resize(kernel.params_size as usize, 0);
        self.kernel = kernel;
    }

    fn write(&mut self, name: &str, kind: FieldKind, words: &[[u8; 4]]) {
        let fitting = self.kernel.params.iter().find(|field| field.name == name && field.kind == kind && field.count as usize >= words.len());
        let Some(field) = fitting else {
            return self.fail(RunError::internal(format!(
                "the kernel {} has no parameter {name} of {} numbers ({kind:?})",
                self.kernel.name,
                words.len()
            )));
        };
        let start = field.offset as usize;
        if let Some(room) = self.bytes.get_mut(start..start + 4 * words.len()) {
            room.copy_from_slice(words.as_flattened());
        }
        self.missing.retain(|missing| *missing != name);
    }

    fn fail(&mut self, error: RunError) {
        self.error.get_or_insert(error);
    }

    /// The bytes.
    ///
    /// # Errors
    /// `Internal` for an unknown, ill-typed or missing field; `Unsupported` for a number beyond 32 bits.
    pub(crate) fn finish(self) -> Result<Vec<u8>, RunError> {
        match (self.error, self.missing.first()) {
            (Some(error), _) => Err(error),
            (None, Some(missing)) => Err(RunError::internal(format!("the parameter {missing} of the kernel {} was not set", self.kernel.name))),
            (None, None) => Ok(self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_missing_and_oversized_parameters_are_refused() {
        let kernel = &onestep_shaders::PRESENT;
        assert!(Params::new(kernel).finish().unwrap_err().to_string().contains("count"));
        let mut params = Params::new(kernel);
        params.set("counts", 3);
        assert!(params.finish().unwrap_err().to_string().contains("counts"));
        let mut params = Params::new(kernel);
        params.set("count", 1 << 40);
        assert_eq!(params.finish().unwrap_err().kind(), crate::ErrorKind::Unsupported);
    }

    #[test]
    fn fields_land_where_the_shader_reads_them() {
        let mut params = Params::new(&onestep_shaders::FILL);
        params.float("value", 1.5);
        params.set("length", 5);
        params.set("blocks", 2);
        params.set("count", 3);
        assert_eq!(params.finish().unwrap(), [3u32.to_le_bytes(), 2u32.to_le_bytes(), 5u32.to_le_bytes(), 1.5f32.to_le_bytes()].concat());
    }
}
