//! From events to alerts: conditions are evaluated once for each subject, in event time, however
//! many people watch them. It sends nothing and knows no subscriber.
//!
//! Read in this order: what a detector is ([`detector`]), which there are ([`detectors`]), what is
//! kept for a subject ([`subjects`]), and the step that leads events to detectors ([`step`]).

pub mod detector;
pub mod detectors;

mod exact;
mod memory;
mod windows;

pub mod conditions;
pub mod section;
pub mod step;
pub mod subjects;
pub mod topology;

pub use detectors::KINDS;
pub use section::{Problem, section};
pub use step::DetectStep;
pub use topology::topology;
