//! `edgecall load`: what it measures, and that nothing wrong escapes it.

mod faults;
mod faulty;
mod figures;
mod loads;
mod others;
mod reports;
mod run;
