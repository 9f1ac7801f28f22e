//! What burn calls an operation.

use burn::backend::ir::OperationIr;

/// burn's name of an operation: `NumericFloat.CumSum`.
pub(crate) fn operation_name(operation: &OperationIr) -> String {
    if let OperationIr::Custom(custom) = operation {
        return format!("Custom.{}", custom.id);
    }
    // The derived text is `Kind(Operation(…` or `Kind(dtype, Operation(…`.
    let text = format!("{operation:?}");
    let head = text.split(" {").next().unwrap_or_default();
    let mut parts = head.split('(');
    let kind = parts.next().unwrap_or_default();
    let name = parts.next().unwrap_or_default();
    let name = name.rsplit(", ").next().unwrap_or_default();
    if name.is_empty() { kind.to_owned() } else { format!("{kind}.{name}") }
}
