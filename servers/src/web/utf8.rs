//! UTF-8 that arrives in parts.

/// Checks a text whose parts may end within a character. Between characters it holds nothing.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The first bytes of a character whose rest is still to come: `len` of them, 3 at the most.
    tail: [u8; 3],
    len: u8,
}

impl Utf8 {
    /// Whether the text can still become UTF-8 with these bytes. After a false it means nothing.
    #[must_use]
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&first, rest)) = bytes.split_first() else {
                return true;
            };
            bytes = rest;
            let mut begun = [0; 4];
            let len = usize::from(self.len);
            begun[..len].copy_from_slice(&self.tail[..len]);
            begun[len] = first;
            if !self.begin(&begun[..=len]) {
                return false;
            }
        }
        self.begin(bytes)
    }

    /// Whether the text may end here.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.len == 0
    }

    /// Checks bytes that begin with a character, and keeps the last one if it is not complete.
    fn begin(&mut self, bytes: &[u8]) -> bool {
        self.len = 0;
        let Err(error) = str::from_utf8(bytes) else {
            return true;
        };
        let rest = &bytes[error.valid_up_to()..];
        // No length: the rest is the beginning of a character.
        if error.error_len().is_none() {
            self.tail[..rest.len()].copy_from_slice(rest);
            self.len = rest.len() as u8;
        }
        error.error_len().is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a text in these parts is taken, and the number of parts that it took to tell.
    fn judge(parts: &[&[u8]]) -> (bool, usize) {
        let mut utf8 = Utf8::default();
        for (index, part) in parts.iter().enumerate() {
            if !utf8.push(part) {
                return (false, index + 1);
            }
        }
        (utf8.is_whole(), parts.len())
    }

    /// Bytes among which characters of all lengths are likely, whole and broken.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let broken = prop::collection::vec(any::<u8>(), 0..4);
        let whole = any::<char>().prop_map(|char| char.to_string().into_bytes());
        let piece = prop_oneof![4 => whole, 1 => broken];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_standard_library_wherever_the_text_is_cut(bytes in bytes(), cuts in (0usize..40, 0usize..40)) {
            let (a, b) = (cuts.0.min(bytes.len()), cuts.1.min(bytes.len()));
            let (a, b) = (a.min(b), a.max(b));
            let is_text = str::from_utf8(&bytes).is_ok();
            prop_assert_eq!(judge(&[&bytes[..a], &bytes[a..b], &bytes[b..]]).0, is_text);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(judge(&single).0, is_text);
        }
    }

    #[test]
    fn a_wrong_byte_is_noticed_when_it_comes() {
        // Beyond U+10FFFF, a surrogate, an overlong form, a byte that is none of UTF-8.
        for wrong in [&b"\xf4\x90"[..], b"\xed\xa0", b"\xe0\x80", b"\xff"] {
            let single: Vec<&[u8]> = wrong.chunks(1).collect();
            assert_eq!(judge(&single), (false, wrong.len()), "{wrong:?}");
        }
    }
}
