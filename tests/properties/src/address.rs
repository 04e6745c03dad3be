//! Addresses as users write them.

use edgeloop_reactor::{Address, HostPort};

/// An address as it is shown is parsed as the same address; a refusal is one short line.
pub fn address(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match text.parse::<Address>() {
        Ok(address) => {
            let shown = address.to_string();
            assert_eq!(
                shown.parse().as_ref(),
                Ok(&address),
                "{text:?} is {shown:?}"
            );
            // A number that is known without a resolver has the port that was written.
            let number = address.socket_addr();
            assert!(number.is_none_or(|number| Some(number.port()) == address.port()));
        }
        Err(refusal) => {
            let refusal = refusal.to_string();
            assert!(!refusal.is_empty());
            // Quoted once or twice, a character may take ten (`\u{10ffff}`).
            let most = 300 + 20 * text.len();
            assert!(refusal.len() <= most, "{} bytes", refusal.len());
            assert!(
                !refusal.contains(|char: char| char.is_control()),
                "{refusal:?}"
            );
        }
    }
    if let Ok(at) = text.parse::<HostPort>() {
        assert_eq!(at.to_string().parse(), Ok(at));
    }
}
