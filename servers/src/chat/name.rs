//! Legal names, and which names count as one.
//!
//! A name has letters and digits: of ASCII, or with `--unicode-names` of any script, after the
//! Unicode identifier profile (UAX #31) in the normal form NFC. Two names that differ in case only
//! are one name. With `--unicode-names` a name is refused as well if it looks like one that is taken:
//! both have one skeleton (UTS #39). With `--plain` a name is its bytes.
//!
//! So a name has three forms: the name as it is shown, its *fold*, which is compared, and its *look*,
//! which is compared too where look-alikes count. [`Rules`] derives them; a [`Directory`] has the names
//! in use, of members or of rooms, under their folds and looks.

use std::borrow::Cow;
use std::collections::HashMap;

use unicode_ident::{is_xid_continue, is_xid_start};
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_security::skeleton;

use crate::backplane::entry::Name;
use crate::backplane::membership::Refusal;
use crate::harmless::must_be_shown;

/// The longest name, in characters.
const MAX: usize = 32;
/// The longest name before it is brought into its normal form, in bytes. The normal form may be
/// shorter; a longer name is refused without computing it.
const BYTES_MAX: usize = 1024;
/// Most marks on one letter: as many as any language needs (UTS #39, section 5.4).
const MARKS_MAX: usize = 4;
/// Names that the server uses for itself, for its operator, and for the member it speaks to.
const RESERVED: [&str; 4] = ["operator", "you", "server", "edgeloop"];

/// The reason why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Illegal {
    Empty,
    TooLong,
    Characters,
    Unseen,
    Marks,
    Reserved,
    Taken,
    Alike,
    Banned,
    Full,
}

impl From<Refusal> for Illegal {
    fn from(why: Refusal) -> Illegal {
        match why {
            Refusal::Alike => Illegal::Alike,
            Refusal::Banned => Illegal::Banned,
            Refusal::Full => Illegal::Full,
            // The other two are no answers to the claim of a name by another member.
            Refusal::Taken | Refusal::Nobody | Refusal::Same => Illegal::Taken,
        }
    }
}

impl Illegal {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Illegal::Empty => "a name needs at least one letter or digit",
            Illegal::TooLong => "a name has 32 characters at the most",
            Illegal::Characters => "a name has letters and digits only",
            Illegal::Unseen => "a name has no characters that cannot be seen",
            Illegal::Marks => {
                "a name has accents and vowel signs on letters only, four at the most"
            }
            Illegal::Reserved => "this name is reserved",
            Illegal::Taken => "this name is taken",
            Illegal::Alike => "this name looks like one that is taken",
            Illegal::Banned => "this name or your address is banned",
            Illegal::Full => "there are too many members",
        }
    }
}

/// How names are read and compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Letters of any script are allowed.
    pub(super) unicode: bool,
    /// Names are compared byte by byte.
    pub(super) plain: bool,
}

impl Rules {
    /// The name that a line asks for, if it is legal.
    pub(super) fn legal(self, line: &[u8]) -> Result<Cow<'_, str>, Illegal> {
        let name = str::from_utf8(line).map_err(|_| Illegal::Characters)?;
        let name = match self.plain {
            true => name,
            false => name.trim_matches(is_blank),
        };
        let name = self.letters(name, |_| false)?;
        match self.is_reserved(&name) {
            true => Err(Illegal::Reserved),
            false => Ok(name),
        }
    }

    /// The name of a room, which may have hyphens and underscores too. A `#` in front, as in IRC, is
    /// dropped.
    pub(super) fn legal_room(self, name: &str) -> Result<Cow<'_, str>, Illegal> {
        let name = name.strip_prefix('#').unwrap_or(name);
        self.letters(name, |char| matches!(char, '-' | '_'))
    }

    /// The fold of a name: the form that is compared.
    pub(super) fn fold(self, name: &str) -> Cow<'_, str> {
        let is_folded = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        if self.plain || name.bytes().all(is_folded) {
            return Cow::Borrowed(name);
        }
        // First to uppercase, so that `ς` and `σ` are one letter, and `ß` is `ss`.
        let upper = name.nfc().flat_map(char::to_uppercase);
        Cow::Owned(upper.flat_map(char::to_lowercase).nfc().collect())
    }

    /// A name in all its forms.
    pub(super) fn forms(self, name: &str) -> Forms<'_> {
        Forms {
            shown: name,
            fold: self.fold(name),
            look: self.look(name).unwrap_or_default(),
        }
    }

    /// The look of a name, which it shares with all look-alikes; `None` if looks do not count.
    fn look(self, name: &str) -> Option<String> {
        let look = |name| self.fold(&skeleton(name).collect::<String>()).into_owned();
        self.unicode.then(|| look(name))
    }

    fn is_reserved(self, name: &str) -> bool {
        let is_like = |word: &str| self.unicode && self.look(word) == self.look(name);
        let name = self.fold(name);
        !self.plain && RESERVED.iter().any(|&word| word == name || is_like(word))
    }

    /// Checks that a name has letters, digits and `allowed` characters only, and returns its normal
    /// form.
    fn letters(self, name: &str, allowed: fn(char) -> bool) -> Result<Cow<'_, str>, Illegal> {
        if name.len() > BYTES_MAX {
            return Err(Illegal::TooLong);
        }
        let name = match self.unicode && !is_nfc(name) {
            true => Cow::Owned(name.nfc().collect()),
            false => Cow::Borrowed(name),
        };
        if self.unicode {
            identify(&name, allowed)?;
        } else if !name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || allowed(char))
        {
            return Err(Illegal::Characters);
        }
        match name.chars().count() {
            0 => Err(Illegal::Empty),
            1..=MAX => Ok(name),
            _ => Err(Illegal::TooLong),
        }
    }
}

/// A name in all its forms, for the log.
#[derive(Debug)]
pub(super) struct Forms<'a> {
    shown: &'a str,
    fold: Cow<'a, str>,
    /// Empty if looks do not count.
    look: String,
}

impl Forms<'_> {
    pub(super) fn lent(&self) -> Name<'_> {
        Name {
            shown: self.shown,
            fold: &self.fold,
            look: &self.look,
        }
    }
}

/// Checks that a name is an identifier (UAX #31) of letters and digits, of which a digit may be first.
fn identify(name: &str, allowed: fn(char) -> bool) -> Result<(), Illegal> {
    // Number of marks that the letter before may still get.
    let mut room = 0;
    for (at, char) in name.char_indices() {
        let is_mark = is_combining_mark(char);
        let is_letter = is_xid_continue(char) && char.is_alphanumeric();
        if is_unseen(char) {
            return Err(Illegal::Unseen);
        } else if is_mark && is_xid_continue(char) {
            room = usize::checked_sub(room, 1).ok_or(Illegal::Marks)?;
        } else if !is_letter && !allowed(char) {
            return Err(Illegal::Characters);
        } else if at == 0 && is_letter && !is_xid_start(char) && !char.is_numeric() {
            // Thai and Lao have vowel signs that are no combining marks.
            return Err(Illegal::Marks);
        } else {
            room = match char.is_alphabetic() {
                true => MARKS_MAX,
                false => 0,
            };
        }
    }
    Ok(())
}

/// Whether a character is a blank, which is stripped from both ends of a name.
fn is_blank(char: char) -> bool {
    char.is_whitespace() && !must_be_shown(char)
}

/// Whether a character is invisible (Unicode's `Default_Ignorable_Code_Point`): a skeleton leaves it
/// out.
pub(super) fn is_unseen(char: char) -> bool {
    !char.is_ascii() && skeleton(char.encode_utf8(&mut [0; 4])).next().is_none()
}

/// The names in use, each with its holder: a member or a room.
#[derive(Debug)]
pub(super) struct Directory<T> {
    rules: Rules,
    by_fold: HashMap<Box<str>, T>,
    /// Holders by look; empty if looks do not count.
    by_look: HashMap<Box<str>, T>,
}

impl<T: Copy + PartialEq> Directory<T> {
    pub(super) fn new(rules: Rules) -> Directory<T> {
        Directory {
            rules,
            by_fold: HashMap::new(),
            by_look: HashMap::new(),
        }
    }

    /// The holder of a name. No name is as long as a line may be, so a longer one is not folded.
    pub(super) fn get(&self, name: &str) -> Option<T> {
        if name.len() > BYTES_MAX && !self.rules.plain {
            return None;
        }
        self.folded(&self.rules.fold(name))
    }

    /// The holder of the name with this fold.
    pub(super) fn folded(&self, fold: &str) -> Option<T> {
        self.by_fold.get(fold).copied()
    }

    /// Checks that a name is free, or is a variant of the name that `holder` has.
    pub(super) fn check(&self, name: &str, holder: Option<T>) -> Result<(), Refusal> {
        if self.get(name).is_some_and(|other| Some(other) != holder) {
            return Err(Refusal::Taken);
        }
        let look = self.rules.look(name);
        let alike = look.and_then(|look| self.by_look.get(&*look).copied());
        match alike.is_some_and(|other| Some(other) != holder) {
            true => Err(Refusal::Alike),
            false => Ok(()),
        }
    }

    pub(super) fn insert(&mut self, name: &str, holder: T) {
        self.by_fold.insert(self.rules.fold(name).into(), holder);
        if let Some(look) = self.rules.look(name) {
            self.by_look.insert(look.into(), holder);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_fold.remove(&*self.rules.fold(name));
        if let Some(look) = self.rules.look(name) {
            self.by_look.remove(&*look);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert!(self.by_look.len() == self.by_fold.len() || !self.rules.unicode);
        self.by_fold.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASCII: Rules = Rules {
        unicode: false,
        plain: false,
    };
    const UNICODE: Rules = Rules {
        unicode: true,
        plain: false,
    };
    const PLAIN: Rules = Rules {
        unicode: false,
        plain: true,
    };

    fn legal(name: &str, rules: Rules) -> Result<String, Illegal> {
        rules.legal(name.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn name_rules_letters_and_digits() {
        let longest = "x".repeat(32);
        for name in ["a", "Bob", "007", longest.as_str()] {
            for rules in [ASCII, PLAIN] {
                assert_eq!(legal(name, rules).as_deref(), Ok(name));
            }
        }
        let too_long = "x".repeat(33);
        let endless = "é".repeat(BYTES_MAX);
        for (name, illegal) in [
            ("", Illegal::Empty),
            ("two words", Illegal::Characters),
            ("under_score", Illegal::Characters),
            ("a\0", Illegal::Characters),
            ("\x1b[2J", Illegal::Characters),
            ("é", Illegal::Characters),
            (too_long.as_str(), Illegal::TooLong),
            (endless.as_str(), Illegal::TooLong),
        ] {
            for rules in [ASCII, PLAIN] {
                assert_eq!(legal(name, rules), Err(illegal), "{name:?}");
            }
        }
        assert_eq!(ASCII.legal(b"\xff"), Err(Illegal::Characters));
    }

    #[test]
    fn blanks_around_a_name_do_not_count_and_some_name_rules_reserved() {
        for (name, plain) in [
            (" bob", Err(Illegal::Characters)),
            ("bob\t ", Err(Illegal::Characters)),
            (" ", Err(Illegal::Characters)),
            ("operator", Ok("operator".to_owned())),
            ("Operator", Ok("Operator".to_owned())),
            ("YOU", Ok("YOU".to_owned())),
        ] {
            let expected = match name.trim() {
                "" => Err(Illegal::Empty),
                "bob" => Ok("bob".to_owned()),
                _ => Err(Illegal::Reserved),
            };
            assert_eq!(legal(name, ASCII), expected, "{name:?}");
            assert_eq!(legal(name, PLAIN), plain, "{name:?}");
        }
        assert_eq!(legal("\u{a0}小明\u{3000}", UNICODE), Ok("小明".to_owned()));
        // A Cyrillic `о` and `р`, a Greek omicron, the digit one for a letter that has its shape.
        for name in ["оperator", "oрerator", "yοu", "edge1oop", "ｙｏｕ"] {
            assert_eq!(legal(name, UNICODE), Err(Illegal::Reserved), "{name}");
        }
    }

    #[test]
    fn letters_of_any_script_if_they_are_asked_for() {
        let longest = "é".repeat(32);
        for name in [
            "é",
            "Ольга",
            "小明",
            "สมชาย",
            "น้ำผึ้ง",
            "שלום",
            "bob7",
            "٣",
            "प्रिया",
            "हिन्दी",
            "தமிழ்",
            "محمد",
            "مُحَمَّد",
            "আনিকা",
            "Nguyễn",
            "김철수",
            "たろう",
            "ქეთი",
            &longest,
        ] {
            assert_eq!(legal(name, UNICODE).as_deref(), Ok(name));
            let illegal = (name != "bob7").then_some(Illegal::Characters);
            assert_eq!(legal(name, ASCII).err(), illegal, "{name}");
        }
        assert_eq!(legal(&"é".repeat(33), UNICODE), Err(Illegal::TooLong));
        assert_eq!(
            legal("Jose\u{301}", UNICODE),
            Ok("José".to_owned()),
            "in its normal form"
        );
    }

    #[test]
    fn an_identifier_has_nothing_that_is_not_seen_or_stands_alone() {
        for (illegal, names) in [
            (
                Illegal::Characters,
                &[
                    "a b",
                    "👩",
                    "bob\u{2800}",
                    "a\u{9b}",
                    "a_b",
                    "a·b",
                    "½",
                    "Ⓐ",
                    "a\u{483}\u{488}",
                ][..],
            ),
            (
                Illegal::Unseen,
                &[
                    "\u{202e}bob",
                    "\u{200b}",
                    "bob\u{3164}",
                    "\u{ffa0}",
                    "\u{ad}bob",
                    "क\u{200d}ष",
                    "b\u{200c}ob",
                    "bob\u{fe0f}",
                    "bob\u{34f}",
                    "bob\u{e0100}",
                    "\u{115f}",
                    "bob\u{feff}x",
                ],
            ),
            (
                Illegal::Marks,
                &[
                    "\u{301}",
                    "\u{301}bob",
                    "\u{93e}",
                    "7\u{301}",
                    "ำ",
                    "b\u{301}\u{301}\u{301}\u{301}\u{301}",
                ],
            ),
        ] {
            for name in names {
                assert_eq!(legal(name, UNICODE), Err(illegal), "{name:?}");
            }
        }
    }

    #[test]
    fn a_name_is_taken_in_any_case_and_in_look_alike_letters() {
        for (one, other, ascii, unicode) in [
            ("alice", "Alice", Some(Illegal::Taken), Some(Illegal::Taken)),
            ("BILL", "bill", Some(Illegal::Taken), Some(Illegal::Taken)),
            ("bob", "b0b", None, Some(Illegal::Alike)),
            ("paypal", "paypaI", None, Some(Illegal::Alike)),
            ("paypal", "pаypal", None, Some(Illegal::Alike)),
            ("Ольга", "ОЛЬГА", Some(Illegal::Taken), Some(Illegal::Taken)),
            ("ΣΟΦΟΣ", "σοφος", Some(Illegal::Taken), Some(Illegal::Taken)),
            (
                "Straße",
                "STRASSE",
                Some(Illegal::Taken),
                Some(Illegal::Taken),
            ),
            ("bob", "ｂｏｂ", None, Some(Illegal::Alike)),
            ("bob", "rob", None, None),
        ] {
            for (rules, expected) in [(ASCII, ascii), (UNICODE, unicode), (PLAIN, None)] {
                let mut names = Directory::new(rules);
                names.insert(one, 1);
                assert_eq!(
                    names.check(other, None).map_err(Illegal::from).err(),
                    expected,
                    "{one} {other}"
                );
                assert_eq!(names.check(other, Some(1)), Ok(()), "{one} {other}");
                assert_eq!(names.check(one, None), Err(Refusal::Taken));
                names.remove(one);
                assert_eq!(names.check(other, None), Ok(()));
                assert_eq!((names.len(), names.by_look.len()), (0, 0));
            }
        }
    }

    #[test]
    fn rooms_may_have_hyphens() {
        assert_eq!(ASCII.legal_room("#off-topic_2").unwrap(), "off-topic_2");
        assert_eq!(UNICODE.legal_room("кухня-2").unwrap(), "кухня-2");
        assert_eq!(ASCII.legal_room("#"), Err(Illegal::Empty));
        assert_eq!(ASCII.legal_room("a/b"), Err(Illegal::Characters));
        assert_eq!(UNICODE.legal_room("a-\u{301}"), Err(Illegal::Marks));
    }

    proptest! {
        #[test]
        fn a_legal_name_stays_as_it_is_and_is_one_with_itself(name in "\\PC{0,40}") {
            for rules in [ASCII, UNICODE] {
                if let Ok(name) = legal(&name, rules) {
                    prop_assert_eq!(legal(&name, rules), Ok(name.clone()));
                    let fold = rules.fold(&name).into_owned();
                    prop_assert_eq!(rules.fold(&fold), &*fold);
                    prop_assert!(!fold.is_empty() && name.len() <= 4 * MAX);
                }
            }
        }
    }
}
