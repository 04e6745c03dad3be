//! `redis://[USER:PASSWORD@]HOST:PORT[/DB][?prefix=PREFIX]`.

use std::fmt;
use std::str::FromStr;

use edgeloop_reactor::Address;
use edgeloop_reactor::process::reason;

/// The port of a URL without one.
const PORT: u16 = 6379;
/// The prefix of the keys unless the URL has another.
const PREFIX: &str = "edgeloop";

/// A database in a Redis server, and the keys in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub address: Address,
    /// The user of the ACL and its password; a password alone is that of the default user.
    credentials: Option<(Option<String>, String)>,
    /// The number of the database.
    database: u32,
    /// The keys are `PREFIX:log` and `PREFIX:beat`.
    prefix: String,
}

/// The password is not shown.
impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Target")
            .field("address", &self.address)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// This database with the numbers of its host looked up, which may take its time. An error is a message
    /// for the user.
    pub fn resolved(&self) -> Result<Target, String> {
        let address = self.address.resolved().map_err(|error| {
            let (at, why) = (&self.address, reason(&error));
            format!("cannot find redis at {at}: {why}")
        })?;
        Ok(Target {
            address,
            ..self.clone()
        })
    }

    /// The key of the log.
    pub(super) fn log_key(&self) -> Vec<u8> {
        format!("{}:log", self.prefix).into_bytes()
    }

    /// The key of the heartbeats.
    pub(super) fn beat_key(&self) -> Vec<u8> {
        format!("{}:beat", self.prefix).into_bytes()
    }

    /// The commands that begin a connection.
    pub(super) fn greeting(&self) -> Vec<Vec<Vec<u8>>> {
        let mut commands = Vec::new();
        if let Some((user, password)) = &self.credentials {
            let words = ["AUTH"]
                .into_iter()
                .chain(user.as_deref())
                .chain([&**password]);
            commands.push(words.map(|word| word.into()).collect());
        }
        if self.database > 0 {
            commands.push(vec![b"SELECT".into(), self.database.to_string().into()]);
        }
        commands
    }
}

/// An error is a message for the user. It quotes nothing: a part of a password that is not
/// percent-encoded may stand anywhere.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if text.starts_with("rediss://") {
            return Err(
                "rediss (TLS) is not spoken here: let stunnel listen for redis:// on this \
                machine, and connect to the server"
                    .into(),
            );
        }
        let form = "write redis://[USER:PASSWORD@]HOST:PORT[/DB][?prefix=PREFIX]";
        let rest = text.strip_prefix("redis://").ok_or(form)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host) = match place.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, place),
        };
        Ok(Target {
            address: address(host)?,
            credentials: credentials.map(parse_credentials).transpose()?,
            database: match database {
                "" => 0,
                number => number
                    .parse()
                    .map_err(|_| format!("the database has a number: {form}"))?,
            },
            prefix: prefix(query)?,
        })
    }
}

fn address(host: &str) -> Result<Address, String> {
    if host.is_empty() {
        return Err("a host is missing: write redis://HOST:PORT".into());
    }
    // The colons of an IPv6 address stand in brackets.
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    let address = match after.contains(':') {
        true => host.parse::<Address>(),
        false => format!("{host}:{PORT}").parse(),
    };
    match address {
        Ok(address @ Address::Tcp(_)) => Ok(address),
        _ => Err("this is no host and port: write redis://HOST:PORT".into()),
    }
}

fn parse_credentials(text: &str) -> Result<(Option<String>, String), String> {
    let (user, password) = text
        .split_once(':')
        .ok_or("a password is missing: write redis://USER:PASSWORD@HOST:PORT")?;
    let user = (!user.is_empty()).then(|| decoded(user)).transpose()?;
    Ok((user, decoded(password)?))
}

fn prefix(query: &str) -> Result<String, String> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(PREFIX.into()),
        Some(("prefix", prefix)) if !prefix.is_empty() => decoded(prefix),
        _ => Err("only the prefix may follow: write ?prefix=PREFIX".into()),
    }
}

/// A text without its percent-encoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let mut parts = text.split('%');
    let mut bytes: Vec<u8> = parts.next().unwrap_or_default().into();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("after % in a URL two hexadecimal digits are needed: %25 is a %")?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| "a part of the URL is no UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn urls_are_understood() {
        let full = target("redis://chat:p%40ss%25@localhost:7000/3?prefix=my%3Achat");
        assert_eq!(full.address.to_string(), "tcp://localhost:7000");
        assert_eq!(full.log_key(), b"my:chat:log");
        let greeting = [vec![&b"AUTH"[..], b"chat", b"p@ss%"], vec![b"SELECT", b"3"]];
        assert_eq!(full.greeting(), greeting);
        assert!(!format!("{full:?}").contains("p@ss"));
        let short = target("redis://127.0.0.1");
        assert_eq!(short.address.to_string(), "tcp://127.0.0.1:6379");
        assert_eq!(short.beat_key(), b"edgeloop:beat");
        assert!(short.greeting().is_empty());
        let default_user = target("redis://:secret@[::1]/0");
        assert_eq!(default_user.address.to_string(), "tcp://[::1]:6379");
        assert_eq!(default_user.greeting(), [vec![&b"AUTH"[..], b"secret"]]);
    }

    #[test]
    fn other_urls_are_refused_in_one_line() {
        for (text, expected) in [
            ("rediss://h:1", "stunnel"),
            ("http://h:1", "write redis://"),
            ("redis://", "a host is missing"),
            ("redis://h:x", "port"),
            ("redis://h:1/x", "database"),
            ("redis://secret@h:1", "a password is missing"),
            ("redis://a:%zz@h:1", "%25"),
            ("redis://a:%é@h:1", "%25"),
            ("redis://a:%ff@h:1", "UTF-8"),
            ("redis://h:1?tls=1", "?prefix="),
        ] {
            let error = text.parse::<Target>().expect_err(text);
            assert!(
                error.contains(expected) && !error.contains('\n'),
                "{text}: {error}"
            );
        }
        for text in [
            "redis://a:sec/ret@h:1",
            "redis://a:sec?ret@h:1",
            "redis://a:sec@ret:h:1",
        ] {
            let error = text.parse::<Target>().expect_err(text);
            assert!(!error.contains("sec") && !error.contains("ret"), "{error}");
        }
    }
}
