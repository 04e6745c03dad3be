//! `edgecall load` measures correctly, and detects every fault of a server.

mod faults;
mod faulty;
mod figures;
mod loads;
mod others;
mod reports;
mod run;
mod web;
