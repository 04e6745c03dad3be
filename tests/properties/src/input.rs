//! The bytes of a fuzzer, taken apart.

/// The unread rest of an input. An input that is used up yields zeros.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// The next number from `from` to `from + 255`.
    pub(crate) fn number(&mut self, from: usize) -> usize {
        from + usize::from(self.byte())
    }

    /// The next bytes, up to 255 of them; a byte in front says how many.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let count = self.number(0).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    /// Lengths of chunks, to cut the rest of the input with ([`chunks`]).
    pub(crate) fn cuts(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte() % 16).min(self.0.len());
        let (cuts, rest) = self.0.split_at(count);
        self.0 = rest;
        cuts
    }
}

/// Cuts `bytes` into chunks of these lengths in turn, over and over; into single bytes if there are
/// no lengths.
pub(crate) fn chunks<'a>(mut bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut lengths = cuts.iter().cycle();
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let length = lengths
            .next()
            .map_or(1, |&length| usize::from(length).max(1));
        let (chunk, rest) = bytes.split_at(length.min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

/// Whether a terminal would obey this character, or show the text around it as another: tab and
/// newline aside.
pub(crate) fn is_obeyed(char: char) -> bool {
    let is_bidirectional = matches!(char, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends_a_line = matches!(char, '\u{2028}' | '\u{2029}');
    (char.is_control() && !matches!(char, '\t' | '\n')) || is_bidirectional || ends_a_line
}
