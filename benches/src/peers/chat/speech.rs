//! The lines of a chat, by its members and by the server, common to all peers.
//!
//! The line assembly is that of `edgeloop chat`. The peers are compared for how they deliver lines,
//! and this is not to make a difference. The protocol is the least that a load generator needs: the
//! first line is a name, which is neither checked nor compared with others.

use edgeloop::line::LineAssembler;

/// The first line to every member: the question for a name.
pub(super) const WELCOME: &[u8] = b"Welcome! What is your name?\n";

/// The state of a member's input.
#[derive(Debug, Default)]
pub(super) struct Speech {
    lines: LineAssembler,
    /// `None` until it is given.
    name: Option<Box<[u8]>>,
}

impl Speech {
    /// The member's name, once it is given.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// Takes in bytes as they arrived, and appends the text for the others to `page`. True: the
    /// name was among them.
    pub(super) fn take_in(&mut self, bytes: &[u8], page: &mut Vec<u8>) -> bool {
        let Speech { lines, name } = self;
        let was_known = name.is_some();
        lines.feed(bytes, usize::MAX, |line| {
            if let Some(name) = name {
                append(&[b"[", name, b"] ", line.text, b"\n"], page);
            } else {
                append(&[b"* ", line.text, b" has entered the room\n"], page);
                *name = Some(line.text.into());
            }
        });
        !was_known && name.is_some()
    }

    /// Handles the end of the input. Appends the text for the others to `page`.
    pub(super) fn end(&self, page: &mut Vec<u8>) {
        if let Some(name) = &self.name {
            tell_departure(name, page);
        }
    }
}

fn append(parts: &[&[u8]], page: &mut Vec<u8>) {
    for part in parts {
        page.extend_from_slice(part);
    }
}

/// Appends the line for the others when a member has left.
pub(super) fn tell_departure(name: &[u8], page: &mut Vec<u8>) {
    append(&[b"* ", name, b" has left the room\n"], page);
}

/// Appends the line for a member who enters: the names of the members who have entered before.
pub(super) fn tell_members<'a>(names: impl IntoIterator<Item = &'a [u8]>, page: &mut Vec<u8>) {
    page.extend_from_slice(b"* The room contains: ");
    for (index, name) in names.into_iter().enumerate() {
        if index > 0 {
            page.extend_from_slice(b", ");
        }
        page.extend_from_slice(name);
    }
    page.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_others_hear_the_same_however_it_arrives(
            cuts in prop::collection::vec(0..40usize, 0..6),
        ) {
            let input = b"anna\nhello\n\n[x] y\nunfinished";
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let (mut speech, mut page) = (Speech::default(), Vec::new());
            let chunks = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]);
            let entered = chunks.filter(|chunk| speech.take_in(chunk, &mut page)).count();
            speech.end(&mut page);
            prop_assert_eq!(entered, 1);
            prop_assert_eq!(
                String::from_utf8(page).unwrap(),
                "* anna has entered the room\n[anna] hello\n[anna] \n[anna] [x] y\n\
                 * anna has left the room\n"
            );
        }
    }

    #[test]
    fn no_member_hears_of_one_without_a_name() {
        let (mut speech, mut page) = (Speech::default(), Vec::new());
        assert!(!speech.take_in(b"ann", &mut page));
        speech.end(&mut page);
        assert_eq!((speech.name(), page), (None, Vec::new()));
    }

    #[test]
    fn names_are_listed_with_commas_between_them() {
        for (names, expected) in [
            (&[][..], "* The room contains: \n"),
            (&[&b"a"[..]], "* The room contains: a\n"),
            (&[b"a", b"b"], "* The room contains: a, b\n"),
        ] {
            let mut page = Vec::new();
            tell_members(names.iter().copied(), &mut page);
            assert_eq!(page, expected.as_bytes());
        }
    }
}
