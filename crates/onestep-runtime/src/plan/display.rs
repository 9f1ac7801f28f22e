//! Printing a plan: a summary, and with `{:#}` every dispatch.

use std::fmt;

use super::dispatch_plan::{BufferId, Plan, PortSlot, Slice};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} operations, {} dispatches, {}", self.name, self.operations, self.dispatches.len(), Flops(self.flops()))?;
        writeln!(f, "  weights  {} for {} tensors in {} buffers", Bytes(self.weight_bytes()), self.weights.len(), self.weight_buffers.len())?;
        let arenas: Vec<String> = self.arenas.iter().map(|&size| Bytes(size).to_string()).collect();
        writeln!(f, "  arenas   {} ({}); {} live at once", Bytes(self.arena_bytes()), arenas.join(" + "), Bytes(self.live_bytes))?;
        writeln!(f, "  moved    {} by {} pipelines", Bytes(self.bytes_moved()), self.kernels().len())?;
        for port in &self.inputs {
            writeln!(f, "  input    {}", Port(port))?;
        }
        for port in &self.outputs {
            writeln!(f, "  output   {}", Port(port))?;
        }
        let kernels: Vec<String> = self.kernels().iter().map(|(name, count)| format!("{name} ×{count}")).collect();
        writeln!(f, "  kernels  {}", kernels.join(", "))?;
        if f.alternate() {
            for (number, dispatch) in self.dispatches.iter().enumerate() {
                let [x, y, z] = dispatch.grid;
                write!(f, "  {number:4}  {:<16} {:<22} {x}×{y}×{z}", dispatch.name, dispatch.kernel.name)?;
                for (binding, slice) in dispatch.kernel.bindings.iter().zip(&dispatch.bindings).skip(1) {
                    write!(f, "  {}={}", binding.name, Location(slice))?;
                }
                if dispatch.flops > 0 {
                    write!(f, "  {}", Flops(dispatch.flops))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// Bytes with a binary unit.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10 << 10 => write!(f, "{bytes} B"),
            bytes if bytes < 10 << 20 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            bytes => write!(f, "{:.1} MiB", bytes as f64 / (1024.0 * 1024.0)),
        }
    }
}

/// Floating-point operations with a unit.
struct Flops(u64);

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            flops if flops < 10_000_000 => write!(f, "{:.3} MFLOP", flops as f64 / 1e6),
            flops => write!(f, "{:.3} GFLOP", flops as f64 / 1e9),
        }
    }
}

/// Name, shape and type of an input or output.
struct Port<'a>(&'a PortSlot);

impl fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.0.name, self.0.shape, format!("{:?}", self.0.dtype).to_lowercase())
    }
}

/// Buffer and offset of a slice.
struct Location<'a>(&'a Slice);

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.buffer {
            BufferId::Params => write!(f, "params")?,
            BufferId::Inputs => write!(f, "inputs")?,
            BufferId::Weights(number) => write!(f, "weights{number}")?,
            BufferId::Arena(number) => write!(f, "arena{number}")?,
        }
        write!(f, "+{}", self.0.offset)
    }
}
