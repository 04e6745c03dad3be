//! Names: the server refuses illegal names, and names that equal or imitate a taken one.

use tests::chat::{Guest, chat};
use tests::server::Server;

/// The reason for which a new member's name is refused; `None` if it is not.
fn refusal(server: &Server, name: &str) -> Option<String> {
    let mut guest = Guest::knock(server.tcp());
    guest.say(name);
    let told = guest.next();
    if told.starts_with("* The room ") {
        return None;
    }
    guest.hears_the_end();
    Some(told)
}

#[test]
fn names_differ_by_more_than_case_and_some_are_reserved() {
    let server = chat(&[]).start();
    let mut ann = Guest::join(server.tcp(), " Ann\t");
    for (name, told) in [
        ("ann", "* this name is taken"),
        ("  ANN ", "* this name is taken"),
        ("operator", "* this name is reserved"),
        ("You", "* this name is reserved"),
        ("   ", "* a name needs at least one letter or digit"),
        ("two words", "* a name has letters and digits only"),
        ("été", "* a name has letters and digits only"),
    ] {
        assert_eq!(refusal(&server, name).as_deref(), Some(told), "{name:?}");
    }
    let mut bob = Guest::join(server.tcp(), "bob");
    bob.say("/msg ANN hello");
    bob.hears("[you to Ann] hello");
    bob.say("/nick aNN");
    bob.hears("* this name is taken");
    bob.say("/nick Bob");
    bob.hears("* you are now known as Bob");
    for line in [
        "* bob has entered the room",
        "[bob to you] hello",
        "* bob is now known as Bob",
    ] {
        ann.hears(line);
    }
    // Names of rooms ignore case, too.
    ann.say("/join Attic");
    bob.say("/join attic");
    bob.hears_at_last("* you are in Attic now");
    bob.hears("* The room contains: Ann");
}

#[test]
fn names_in_any_script_but_none_that_deceives() {
    let server = chat(&["--unicode-names"]).start();
    let mut ann = Guest::join(server.tcp(), "ann");
    for name in ["प्रिया", "สมชาย", "தமிழ்", "محمد", "小明", "Zoe\u{308}"]
    {
        let guest = Guest::join(server.tcp(), name);
        let shown = name.replace("e\u{308}", "ë");
        ann.hears(&format!("* {shown} has entered the room"));
        guest.say("hello");
        ann.hears(&format!("[{shown}] hello"));
        drop(guest);
        ann.hears(&format!("* {shown} has left the room"));
    }
    for (name, told) in [
        (
            "b\u{200b}ob",
            "* a name has no characters that cannot be seen",
        ),
        (
            "bob\u{3164}",
            "* a name has no characters that cannot be seen",
        ),
        (
            "क\u{200d}ष",
            "* a name has no characters that cannot be seen",
        ),
        (
            "\u{301}bob",
            "* a name has accents and vowel signs on letters only, four at the most",
        ),
        ("аnn", "* this name looks like one that is taken"),
        ("ａｎｎ", "* this name looks like one that is taken"),
        ("оperatоr", "* this name is reserved"),
        ("👩", "* a name has letters and digits only"),
        (
            "\u{202e}bob",
            "* a name has no characters that cannot be seen",
        ),
    ] {
        assert_eq!(refusal(&server, name).as_deref(), Some(told), "{name:?}");
    }
}

#[test]
fn plain_takes_names_as_they_come() {
    let server = chat(&["--plain"]).start();
    let _ann = Guest::join(server.tcp(), "ann");
    for name in ["Ann", "operator", "you"] {
        assert_eq!(refusal(&server, name), None, "{name}");
    }
    for name in ["ann", " bob", "bob ", ""] {
        assert!(refusal(&server, name).is_some(), "{name:?}");
    }
}
