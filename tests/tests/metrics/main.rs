//! `--metrics` over real sockets: what scrapers get from each server, and when.

mod format;
mod http;
mod numbers;
mod scrape;
