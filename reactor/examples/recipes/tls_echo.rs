//! Recipe: TLS above the protocol. An echo server with the [`rustls`] crate.
//!
//! A TLS library without I/O and a protocol without I/O fit together: `rustls` takes the bytes that
//! arrived, gives back the plaintext, takes the reply, and gives back the bytes to be sent. The
//! reactor never knows. What ends a stream within TLS is a `close_notify`; a FIN without one may
//! have been forged and counts as a failure.
//!
//! Its certificate and key are read from the PEM files that are named behind the address. Without
//! them, a certificate is made for this run, which no client has a reason to trust.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example tls_echo
//! openssl s_client -connect 127.0.0.1:9876 -quiet
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

struct TlsEcho {
    config: Arc<ServerConfig>,
    sessions: ConnMap<ServerConnection>,
}

impl TlsEcho {
    fn new(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<TlsEcho, rustls::Error> {
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(TlsEcho {
            config: Arc::new(config),
            sessions: ConnMap::new(),
        })
    }
}

/// Feeds what arrived to a session and its plaintext to the protocol, which here is: send it back.
/// Returns whether the peer has ended the stream.
fn receive(session: &mut ServerConnection, mut data: &[u8]) -> Result<bool, Box<dyn Error>> {
    let mut ended = false;
    while !data.is_empty() && !ended {
        session.read_tls(&mut data)?;
        let state = session.process_new_packets()?;
        let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
        session.reader().read_exact(&mut plaintext)?;
        session.writer().write_all(&plaintext)?;
        ended = state.peer_has_closed();
    }
    Ok(ended)
}

/// Sends what the session has for its peer: handshake, alerts, encrypted replies.
fn send(session: &mut ServerConnection, id: ConnId, out: &mut Outbox) {
    let mut records = Vec::new();
    while session.wants_write() {
        // A vector takes everything.
        let _ = session.write_tls(&mut records);
    }
    out.send(id, &records);
}

impl Protocol for TlsEcho {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        match ServerConnection::new(self.config.clone()) {
            Ok(mut session) => {
                // No bound of its own for output: the reactor's high-water mark pauses the input.
                session.set_buffer_limit(None);
                self.sessions.insert(id, session);
            }
            Err(_) => out.abort(id),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let received = receive(session, &data);
        if let Ok(true) = received {
            session.send_close_notify();
        }
        // After an error, too: the alert tells the peer why.
        send(session, id, out);
        if !matches!(received, Ok(false)) {
            out.finish(id);
        }
    }

    /// The stream was cut off within TLS.
    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        out.abort(id);
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.sessions.remove(id);
    }

    /// All connections are finished after this.
    fn on_stop(&mut self, out: &mut Outbox) {
        let ids: Vec<ConnId> = self.sessions.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(session) = self.sessions.get_mut(id) {
                session.send_close_notify();
                send(session, id, out);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:9876".into());
    let files = arguments.next().zip(arguments.next());
    let (certificate, key) = if let Some((certificate, key)) = files {
        (
            CertificateDer::from_pem_file(certificate)?,
            PrivateKeyDer::from_pem_file(key)?,
        )
    } else {
        let made = rcgen::generate_simple_self_signed(["localhost".into()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
        (made.cert.der().clone(), key)
    };
    let protocol = TlsEcho::new(certificate, key)?;
    let mut reactor = Reactor::new(protocol, Limits::default())?;
    reactor.handle_signals()?;
    let bound = reactor.listen_on(&address, 0)?;
    eprintln!("listening on {}", bound[0]);
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// A server, and a client that trusts it.
    fn pair() -> (TlsEcho, ClientConnection) {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(config.into(), name).unwrap();
        (TlsEcho::new(made.cert.der().clone(), key).unwrap(), client)
    }

    /// Carries bytes both ways, to the server in pieces of this size, until neither has more.
    fn carry(script: &mut Script<TlsEcho>, id: ConnId, client: &mut ClientConnection, size: usize) {
        loop {
            let mut sent = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sent).unwrap();
            }
            sent.chunks(size).for_each(|piece| script.data(id, piece));
            let received = script.take_output(id);
            let mut rest = &received[..];
            while !rest.is_empty() && client.read_tls(&mut rest).unwrap() > 0 {
                client.process_new_packets().unwrap();
            }
            if sent.is_empty() && received.is_empty() {
                return;
            }
        }
    }

    #[test]
    fn plaintext_comes_back_however_the_records_are_cut() {
        for size in [1, 7, 1000, usize::MAX] {
            let (server, mut client) = pair();
            let mut script = Script::new(server);
            let id = script.open();
            client.writer().write_all(b"hello, TLS").unwrap();
            carry(&mut script, id, &mut client, size);
            client.send_close_notify();
            carry(&mut script, id, &mut client, size);
            let mut reply = Vec::new();
            client.reader().read_to_end(&mut reply).unwrap();
            assert_eq!(reply, b"hello, TLS");
            assert_eq!(script.closed(id), Some(Closed::Finished));
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_within_tls_is_a_failure() {
        let (server, mut client) = pair();
        let mut script = Script::new(server);
        let id = script.open();
        carry(&mut script, id, &mut client, usize::MAX);
        script.eof(id);
        assert!(script.was_reset(id));
    }

    #[test]
    fn a_client_that_speaks_no_tls_gets_an_alert() {
        let mut script = Script::new(pair().0);
        let id = script.open();
        script.data(id, b"GET / HTTP/1.1\r\n\r\n");
        // A record of type 21 (RFC 8446, section 5.1).
        assert_eq!(script.take_output(id).first(), Some(&21));
        assert!(script.closed(id).is_some());
    }
}
