//! Reads bindings, uniform layout, constants and workgroup size of a shader from naga's module, and writes them as a Rust constant.

use std::{collections::BTreeMap, fmt::Write};

use super::table::Variant;
use naga::{AddressSpace, Expression, Literal, Module, Scalar, ScalarKind, StorageAccess, TypeInner};

/// Lists that many variants have in common; each is written once.
#[derive(Default)]
pub struct Lists {
    names: BTreeMap<String, String>,
    /// The Rust text that defines them.
    pub text: String,
}

impl Lists {
    /// The Rust name of a list of type `of`.
    fn name(&mut self, of: &str, elements: &str) -> String {
        let (names, text) = (&mut self.names, &mut self.text);
        let number = names.len();
        let name = names.entry(format!("{of}: {elements}")).or_insert_with(|| {
            let name = format!("LIST_{number}");
            text.push_str(&format!("static {name}: &[{of}] = &[{elements}];\n"));
            name
        });
        name.clone()
    }
}

/// The Rust text of the constant of one variant.
pub fn constant(variant: &Variant, module: &Module, lists: &mut Lists) -> Result<String, String> {
    let Variant { name, family, file, .. } = variant;
    let entry = module.entry_points.first().ok_or("no entry point")?;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|error| error.to_string())?;
    let mut bindings = Vec::new();
    let mut params = String::new();
    let mut params_size = 0;
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else { continue };
        if binding.group != 0 {
            return Err("bindings outside group 0".into());
        }
        let name = variable.name.as_deref().ok_or("a binding without a name")?;
        let access = match variable.space {
            AddressSpace::Uniform => {
                (params, params_size) = fields(module, variable.ty)?;
                "Uniform"
            }
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "ReadWrite",
            AddressSpace::Storage { .. } => "Read",
            _ => return Err(format!("{name} is neither uniform nor storage")),
        };
        let smallest = layouter[variable.ty].size;
        bindings.push((
            binding.binding,
            format!("Binding {{ index: {}, name: {name:?}, access: Access::{access}, smallest: {smallest} }}", binding.binding),
        ));
    }
    bindings.sort();
    let bindings: Vec<String> = bindings.into_iter().map(|(_, text)| text).collect();
    let mut constants = Vec::new();
    for (_, constant) in module.constants.iter() {
        if let (Some(name), Expression::Literal(Literal::U32(value))) = (&constant.name, &module.global_expressions[constant.init]) {
            constants.push(format!("({name:?}, {value})"));
        }
    }
    let workgroup_bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(_, variable)| layouter[variable.ty].size)
        .sum();
    let entries: Vec<String> = module.entry_points.iter().map(|entry| format!("{:?}", entry.name)).collect();
    let mut text = String::new();
    let upper = name.to_uppercase();
    writeln!(
        text,
        "/// Variant `{name}` of `kernels/{file}.wgsl`.\npub static {upper}: Kernel = Kernel {{\n    name: {name:?},\n    family: {family:?},\n    flags: Flags::from_bits({}),\n    file: {file:?},\n    defines: &{:?},\n    entry_points: &[{}],\n    workgroup_size: {:?},\n    workgroup_bytes: {workgroup_bytes},\n    bindings: {},\n    params: {},\n    params_size: {params_size},\n    constants: {},\n    native: {},\n}};",
        variant.flags.bits(),
        variant.defines.iter().collect::<Vec<_>>(),
        entries.join(", "),
        workgroup(module, entry)?,
        lists.name("Binding", &bindings.join(", ")),
        lists.name("Field", &params),
        lists.name("(&str, u32)", &constants.join(", ")),
        variant.native,
    )
    .map_err(|error| error.to_string())?;
    Ok(text)
}

/// The workgroup size; for an override its default.
fn workgroup(module: &Module, entry: &naga::EntryPoint) -> Result<[u32; 3], String> {
    let mut size = entry.workgroup_size;
    for (side, expression) in size.iter_mut().zip(entry.workgroup_size_overrides.unwrap_or_default()) {
        let Some(expression) = expression else { continue };
        let Expression::Override(handle) = module.global_expressions[expression] else {
            return Err("a workgroup size that is computed from an override".into());
        };
        let init = module.overrides[handle].init.map(|init| &module.global_expressions[init]);
        let Some(Expression::Literal(Literal::U32(value))) = init else { return Err("an override without a number of type u32".into()) };
        *side = *value;
    }
    Ok(size)
}

/// The fields of the uniform struct and its size.
fn fields(module: &Module, ty: naga::Handle<naga::Type>) -> Result<(String, u32), String> {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else { return Err("the uniform is not a struct".into()) };
    let mut texts = Vec::new();
    for member in members {
        let name = member.name.as_deref().ok_or("a field without a name")?;
        let (scalar, count) = scalars(module, member.ty).ok_or_else(|| format!("field {name}: scalars, vectors and arrays of vec4 only"))?;
        let kind = match scalar {
            Scalar { kind: ScalarKind::Uint, width: 4 } => "U32",
            Scalar { kind: ScalarKind::Sint, width: 4 } => "I32",
            Scalar { kind: ScalarKind::Float, width: 4 } => "F32",
            _ => return Err(format!("field {name}: 32-bit numbers only")),
        };
        texts.push(format!("Field {{ name: {name:?}, offset: {}, kind: FieldKind::{kind}, count: {count} }}", member.offset));
    }
    Ok((texts.join(", "), *span))
}

/// The scalar type of a type without gaps in memory, and how many scalars it has.
fn scalars(module: &Module, ty: naga::Handle<naga::Type>) -> Option<(Scalar, u32)> {
    match module.types[ty].inner {
        TypeInner::Scalar(scalar) => Some((scalar, 1)),
        TypeInner::Vector { size, scalar } => Some((scalar, size as u32)),
        TypeInner::Array { base, size: naga::ArraySize::Constant(length), .. } => match module.types[base].inner {
            TypeInner::Vector { size: naga::VectorSize::Quad, scalar } => Some((scalar, 4 * length.get())),
            _ => None,
        },
        _ => None,
    }
}
