//! Lines out of a stream of bytes.
//!
//! A read may bring half a line or a hundred. [`LineAssembler`] hands out complete lines from the
//! read buffer without a copy, and keeps the beginning of a line that is not complete. Between
//! lines it keeps nothing, so that an idle connection costs nothing.

use std::mem;

use memchr::memchr_iter;

/// One line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes of the line, cut to the longest allowed.
    pub text: &'a [u8],
    /// The line was longer: the rest is dropped.
    pub cut: bool,
}

/// Puts together the lines of one stream.
///
/// A line ends in `\n` or `\r\n`. A `\r` anywhere else belongs to the text, also as the last byte
/// of a stream that ends without a newline. A caller that has other ends of lines, or lets a line
/// be edited, looks for these itself and hands over parts of lines ([`push`](LineAssembler::push),
/// [`end`](LineAssembler::end), [`erase`](LineAssembler::erase)).
///
/// `max` is the length in bytes of the longest line, its end not counted. A longer one is handed
/// out cut to `max` bytes as soon as it is known to be longer, since its newline may never come;
/// its rest up to the newline is dropped. So no more than `max + 1` bytes are ever kept: the
/// longest line, and the `\r` of its end.
///
/// ```
/// use edgeloop::line::LineAssembler;
///
/// let mut lines = LineAssembler::default();
/// let mut seen = Vec::new();
/// for chunk in [&b"one\r\ntw"[..], b"o\nthree, which is too lo", b"ng\nfour"] {
///     lines.feed(chunk, 5, |line| seen.push((line.text.to_vec(), line.cut)));
/// }
/// lines.finish(5, |line| seen.push((line.text.to_vec(), line.cut)));
/// let expected = [(&b"one"[..], false), (b"two", false), (b"three", true), (b"four", false)];
/// assert_eq!(seen, expected.map(|(text, cut)| (text.to_vec(), cut)));
/// ```
#[derive(Debug, Default)]
pub struct LineAssembler {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The beginning of a line. Between lines it is empty, and holds no allocated memory.
    Partial(Vec<u8>),
    /// The line was too long and has been handed out: its rest is dropped.
    Skipping,
}

impl Default for State {
    fn default() -> Self {
        State::Partial(Vec::new())
    }
}

impl LineAssembler {
    /// Takes in bytes as they arrived, and calls `each` for every line that they complete or that
    /// they make too long.
    pub fn feed(&mut self, bytes: &[u8], max: usize, mut each: impl FnMut(Line<'_>)) {
        let mut start = 0;
        for newline in memchr_iter(b'\n', bytes) {
            self.end_line(&bytes[start..newline], max, &mut each);
            start = newline + 1;
        }
        self.keep(&bytes[start..], max, &mut each);
    }

    /// Takes in bytes of one line. The caller knows that there is no newline among them.
    pub fn push(&mut self, bytes: &[u8], max: usize, mut each: impl FnMut(Line<'_>)) {
        self.keep(bytes, max, &mut each);
    }

    /// Takes in the last bytes of a line, which ends after them.
    pub fn end(&mut self, bytes: &[u8], max: usize, mut each: impl FnMut(Line<'_>)) {
        if let State::Partial(mut first) = mem::take(&mut self.state) {
            let len = first.len() + bytes.len();
            hand_out(&mut first, bytes, len, max, &mut each);
        }
    }

    /// Erases the last characters of the unfinished line, `count` of them or all; a byte that is not
    /// UTF-8 counts as one.
    pub fn erase(&mut self, count: usize) {
        let State::Partial(first) = &mut self.state else {
            return;
        };
        for _ in 0..count.min(first.len()) {
            let is_character = |len: &usize| {
                let last = str::from_utf8(&first[first.len() - len..]);
                last.is_ok_and(|last| last.chars().count() == 1)
            };
            let last = (1..=first.len().min(4)).find(is_character);
            first.truncate(first.len().saturating_sub(last.unwrap_or(1)));
        }
    }

    /// Whether the unfinished line begins with these bytes.
    #[must_use]
    pub fn begins_with(&self, bytes: &[u8]) -> bool {
        matches!(&self.state, State::Partial(first) if first.starts_with(bytes))
    }

    /// Whether nothing is kept: the next byte begins a line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.state, State::Partial(first) if first.is_empty())
    }

    /// The end of the stream: hands out the last line if it lacks its newline. Bytes fed after this
    /// are a new stream.
    pub fn finish(&mut self, max: usize, mut each: impl FnMut(Line<'_>)) {
        if let State::Partial(mut first) = mem::take(&mut self.state)
            && !first.is_empty()
        {
            let len = first.len();
            hand_out(&mut first, &[], len, max, &mut each);
        }
    }

    /// A newline came after `more`.
    fn end_line(&mut self, more: &[u8], max: usize, each: &mut impl FnMut(Line<'_>)) {
        if let State::Partial(mut first) = mem::take(&mut self.state) {
            let ends_in_cr = more.last().or(first.last()) == Some(&b'\r');
            let len = first.len() + more.len() - usize::from(ends_in_cr);
            hand_out(&mut first, more, len, max, each);
        }
    }

    /// No newline came after `more`, so far.
    fn keep(&mut self, more: &[u8], max: usize, each: &mut impl FnMut(Line<'_>)) {
        if more.is_empty() {
            return;
        }
        let State::Partial(first) = &mut self.state else {
            return;
        };
        let len = first.len() + more.len();
        let is_longest_and_cr = len - 1 == max && more.ends_with(b"\r");
        if len <= max || is_longest_and_cr {
            append(first, more, max);
        } else {
            hand_out(first, more, len, max, each);
            self.state = State::Skipping;
        }
    }
}

/// Hands out the line that is the first `len` bytes of `first` and `more`, or as much of it as is
/// allowed.
fn hand_out(
    first: &mut Vec<u8>,
    more: &[u8],
    len: usize,
    max: usize,
    each: &mut impl FnMut(Line<'_>),
) {
    let cut = len > max;
    let len = len.min(max);
    let text = if first.is_empty() {
        &more[..len]
    } else {
        append(first, &more[..len.saturating_sub(first.len())], max);
        &first[..len]
    };
    each(Line { text, cut });
}

/// Grows by doubling, as a vector does, but never beyond the size of the longest line, within which
/// there is room for `more`.
fn append(first: &mut Vec<u8>, more: &[u8], max: usize) {
    let len = first.len() + more.len();
    if len > first.capacity() {
        let capacity = (2 * len).min(max.saturating_add(1));
        first.reserve_exact(capacity - first.len());
    }
    first.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, bool);

    fn owned(line: Line<'_>) -> Owned {
        (line.text.to_vec(), line.cut)
    }

    fn bounded(text: &[u8], max: usize) -> Owned {
        (text[..text.len().min(max)].to_vec(), text.len() > max)
    }

    /// The model: the lines of a stream that ends here, each without its end.
    fn all_lines(input: &[u8], max: usize) -> Vec<Owned> {
        let mut texts: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
        let last = texts.pop().filter(|last| !last.is_empty());
        let texts = texts.into_iter().map(without_cr).chain(last);
        texts.map(|text| bounded(text, max)).collect()
    }

    /// Of these, the ones that are known before it is clear that the stream ends.
    fn known_lines(input: &[u8], max: usize) -> Vec<Owned> {
        let mut lines = all_lines(input, max);
        let last = input.rsplit(|&byte| byte == b'\n').next().unwrap_or(input);
        if !last.is_empty() && without_cr(last).len() <= max {
            lines.pop();
        }
        lines
    }

    fn without_cr(text: &[u8]) -> &[u8] {
        text.strip_suffix(b"\r").unwrap_or(text)
    }

    fn kept(lines: &LineAssembler) -> usize {
        match &lines.state {
            State::Partial(first) => first.capacity(),
            State::Skipping => 0,
        }
    }

    #[test]
    fn the_beginning_of_a_line_grows_only_when_it_is_full() {
        let mut first = Vec::with_capacity(8);
        append(&mut first, b"12345", 100);
        append(&mut first, b"678", 100);
        assert_eq!((first.len(), first.capacity()), (8, 8));
        append(&mut first, b"9", 100);
        assert_eq!(first.capacity(), 18);
    }

    fn run(chunks: &[&[u8]], max: usize) -> Vec<Owned> {
        let mut lines = LineAssembler::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, max, |line| seen.push(owned(line)));
        }
        lines.finish(max, |line| seen.push(owned(line)));
        seen
    }

    /// Mostly ends of lines, so that every order of them turns up.
    fn chunk() -> impl Strategy<Value = Vec<u8>> {
        let byte =
            prop_oneof![3 => Just(b'a'), 2 => Just(b'\r'), 2 => Just(b'\n'), 1 => any::<u8>()];
        vec(byte, 0..12)
    }

    proptest! {
        #[test]
        fn every_line_is_handed_out_once_and_as_soon_as_it_is_known(chunks in vec(chunk(), 0..12), max in 0..9_usize) {
            let mut lines = LineAssembler::default();
            let mut seen = Vec::new();
            let mut fed = Vec::new();
            for chunk in &chunks {
                lines.feed(chunk, max, |line| seen.push(owned(line)));
                fed.extend(chunk);
                prop_assert_eq!(&seen, &known_lines(&fed, max));
            }
            lines.finish(max, |line| seen.push(owned(line)));
            prop_assert_eq!(seen, all_lines(&fed, max));
            prop_assert_eq!(kept(&lines), 0);
        }

        #[test]
        fn no_more_is_kept_than_the_longest_line_and_nothing_between_lines(chunks in vec(chunk(), 0..12), max in 0..9_usize) {
            let mut lines = LineAssembler::default();
            for chunk in &chunks {
                lines.feed(chunk, max, |_| ());
                prop_assert!(kept(&lines) <= max + 1);
                if chunk.ends_with(b"\n") {
                    prop_assert_eq!(kept(&lines), 0);
                }
            }
        }

        #[test]
        fn lines_within_one_chunk_are_not_copied(input in vec(chunk(), 0..12), max in 0..9_usize) {
            let input = input.concat();
            let lies_within = |text: &[u8]| {
                let (outer, inner) = (input.as_ptr_range(), text.as_ptr_range());
                outer.start <= inner.start && inner.end <= outer.end
            };
            let mut copied = 0;
            LineAssembler::default().feed(&input, max, |line| copied += usize::from(!lies_within(line.text)));
            prop_assert_eq!(copied, 0);
        }
    }

    #[test]
    fn a_line_of_the_greatest_length_is_whole_wherever_it_is_cut() {
        let input = b"12345\r\n";
        let whole = [(b"12345".to_vec(), false)];
        for one in 0..=input.len() {
            for two in one..=input.len() {
                let chunks = [&input[..one], &input[one..two], &input[two..]];
                assert_eq!(run(&chunks, 5), whole, "cut at {one} and {two}");
            }
        }
    }

    #[test]
    fn a_line_without_end_is_handed_out_before_it_ends() {
        let mut lines = LineAssembler::default();
        let mut seen = Vec::new();
        for _ in 0..1000 {
            lines.feed(b"abc", 5, |line| seen.push(owned(line)));
        }
        assert_eq!(seen, [(b"abcab".to_vec(), true)]);
        lines.feed(b"abc\nnext\n", 5, |line| seen.push(owned(line)));
        assert_eq!(seen[1..], [(b"next".to_vec(), false)]);
    }

    #[test]
    fn a_carriage_return_that_no_newline_follows_is_text() {
        for (input, expected) in [
            (&b"a\rb\n"[..], &b"a\rb"[..]),
            (b"a\r\r\n", b"a\r"),
            (b"a\r", b"a\r"),
            (b"\r", b"\r"),
        ] {
            assert_eq!(run(&[input], 8), [(expected.to_vec(), false)]);
        }
        assert_eq!(run(&[b"ab\r"], 2), [(b"ab".to_vec(), true)]);
    }

    #[test]
    fn lines_as_long_as_memory_are_possible() {
        let chunks = [&b"one\ntw"[..], b"o\r", b"\n"];
        let expected = [(b"one".to_vec(), false), (b"two".to_vec(), false)];
        assert_eq!(run(&chunks, usize::MAX), expected);
    }

    #[test]
    fn parts_of_a_line_are_put_together_and_taken_back() {
        let mut lines = LineAssembler::default();
        let mut seen = Vec::new();
        let mut each = |line: Line<'_>| seen.push(owned(line));
        lines.erase(1);
        lines.push("aé".as_bytes(), 4, &mut each);
        lines.erase(1);
        lines.push(b"b", 4, &mut each);
        lines.end(b"c\r", 4, &mut each);
        assert!(lines.is_empty());
        for part in ["👩".as_bytes(), b"\xe9", b"\xa9\x80"] {
            lines.push(part, 9, &mut each);
            part.utf8_chunks()
                .flat_map(|chunk| {
                    chunk
                        .valid()
                        .chars()
                        .chain(chunk.invalid().iter().map(|_| 'x'))
                })
                .for_each(|_| lines.erase(1));
            assert!(lines.is_empty(), "{part:?}");
        }
        lines.push(b"12345", 4, &mut each);
        lines.erase(1);
        lines.push(b"6", 4, &mut each);
        lines.end(b"7", 4, &mut each);
        lines.end(b"", 4, &mut each);
        let expected = [(&b"abc\r"[..], false), (b"1234", true), (b"", false)];
        assert_eq!(seen, expected.map(|(text, cut)| (text.to_vec(), cut)));
    }

    #[test]
    fn after_the_end_a_new_stream_can_begin() {
        let mut lines = LineAssembler::default();
        let mut seen = Vec::new();
        lines.feed(b"too long", 3, |line| seen.push(owned(line)));
        lines.finish(3, |line| seen.push(owned(line)));
        lines.feed(b"new\n", 3, |line| seen.push(owned(line)));
        assert_eq!(seen, [(b"too".to_vec(), true), (b"new".to_vec(), false)]);
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_is_seldom_moved() {
        let mut lines = LineAssembler::default();
        let mut capacities = vec![0];
        for _ in 0..10_000 {
            lines.push(b"a", 15_000, |_| ());
            capacities.push(kept(&lines));
        }
        capacities.dedup();
        assert!(capacities.len() < 20, "{capacities:?}");
    }

    #[test]
    fn thousands_of_them_are_small() {
        assert!(size_of::<LineAssembler>() <= 24);
    }
}
