//! A server and its clients, together.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use edgeloop_reactor::process::reason;

use crate::server::{Model, Server, Service};

/// A server, and clients that are connected to it.
///
/// Dropped in this order: it is not measured how a server takes leave of its clients.
#[derive(Debug)]
pub struct Setup<C> {
    model: Model,
    server: Server,
    clients: C,
}

impl<C> Setup<C> {
    /// Starts a server of `program`, which is `benches`, and lets clients connect. An error is one
    /// line.
    pub fn new(
        program: &Path,
        service: Service,
        model: Model,
        connect: impl FnOnce(SocketAddr) -> io::Result<C>,
    ) -> Result<Setup<C>, String> {
        let mut server = Server::start(program, service, model)?;
        match connect(server.address()) {
            Ok(clients) => Ok(Setup {
                model,
                server,
                clients,
            }),
            Err(error) => Err(why(model, &mut server, &error)),
        }
    }

    /// Lets the clients act. After an error the server has ended, and the line has its complaint,
    /// if there was one.
    pub fn run(&mut self, exchange: impl FnOnce(&mut C) -> io::Result<()>) -> Result<(), String> {
        exchange(&mut self.clients).map_err(|error| why(self.model, &mut self.server, &error))
    }
}

/// The server's complaint comes before its clients'.
fn why(model: Model, server: &mut Server, error: &io::Error) -> String {
    let error = reason(error);
    match server.complaint() {
        Some(complaint) => format!("{model}: {error}; the server says: {complaint}"),
        None => format!("{model}: {error}"),
    }
}
