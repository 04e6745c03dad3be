//! Text for a page or a picture.

use askama::filters::{self, Html};

/// Text in HTML or SVG, where five characters have a meaning.
#[must_use]
pub fn escape(text: &str) -> String {
    let Ok(escaped) = filters::escape(text, Html);
    escaped.to_string()
}

/// Words in lines of at most so many characters; a longer word has a line of its own.
#[must_use]
pub fn wrapped(text: &str, characters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= characters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_wrapped_between_words() {
        let text = "word ".repeat(40);
        let lines = wrapped(&text, 68);
        assert!(lines.iter().all(|line| line.len() <= 68));
        assert_eq!(lines.join(" "), text.trim_end());
        assert_eq!(wrapped(&"x".repeat(100), 68), ["x".repeat(100)]);
    }
}
