//! The `Range` header: which part of a file was asked for.

/// What a `Range` header means for a file of a known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole file: no header, one that is not understood, or several ranges, which need not be granted.
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// The file has no byte of it.
    Outside,
}

impl ByteRange {
    /// Reads `bytes=first-last`, `bytes=first-` or `bytes=-count`.
    pub fn parse(header: Option<&str>, length: u64) -> Self {
        let Some((unit, range)) = header.and_then(|h| h.split_once('=')) else { return Self::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let Some((first, last)) = range.trim().split_once('-') else { return Self::Whole };
        match (number(first), number(last)) {
            (Bound::Number(first), Bound::Number(last)) if first > last => Self::Whole,
            (Bound::Number(first), _) if first >= length => Self::whole_unless_broken(last, Self::Outside),
            (Bound::Number(first), Bound::Number(last)) => Self::Part(first, last.min(length - 1)),
            (Bound::Number(first), Bound::Nothing) => Self::Part(first, length - 1),
            (Bound::Nothing, Bound::Number(0)) => Self::Outside,
            (Bound::Nothing, Bound::Number(_)) if length == 0 => Self::Outside,
            (Bound::Nothing, Bound::Number(count)) => Self::Part(length.saturating_sub(count), length - 1),
            _ => Self::Whole,
        }
    }

    fn whole_unless_broken(last: &str, otherwise: Self) -> Self {
        if number(last) == Bound::Broken { Self::Whole } else { otherwise }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Bound {
    Number(u64),
    Nothing,
    Broken,
}

/// Digits only; a number too large for us is as good as the largest.
fn number(text: &str) -> Bound {
    match text {
        "" => Bound::Nothing,
        t if t.bytes().all(|b| b.is_ascii_digit()) => Bound::Number(t.parse().unwrap_or(u64::MAX)),
        _ => Bound::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::ByteRange::{self, Outside, Part, Whole};

    #[test]
    fn ranges_mean_what_the_standard_says() {
        for (header, want) in [
            ("bytes=0-0", Part(0, 0)),
            ("bytes=0-9", Part(0, 9)),
            ("bytes=0-99", Part(0, 9)),
            ("bytes=5-", Part(5, 9)),
            ("bytes=-3", Part(7, 9)),
            ("bytes=-30", Part(0, 9)),
            ("BYTES=1-2", Part(1, 2)),
            ("bytes=0-99999999999999999999999999", Part(0, 9)),
            ("bytes=10-", Outside),
            ("bytes=10-20", Outside),
            ("bytes=99999999999999999999999999-", Outside),
            ("bytes=-0", Outside),
            ("bytes=3-2", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=10-x", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1-2,4-5", Whole),
            ("bytes 1-2", Whole),
            ("lines=1-2", Whole),
            ("", Whole),
        ] {
            assert_eq!(ByteRange::parse(Some(header), 10), want, "{header}");
        }
        assert_eq!(ByteRange::parse(None, 10), Whole);
        assert_eq!(ByteRange::parse(Some("bytes=0-"), 0), Outside);
        assert_eq!(ByteRange::parse(Some("bytes=-1"), 0), Outside);
    }
}
