//! From the outside world to events in the log.
//!
//! Read in this order: what a source is ([`source`]) and which there are ([`sources`]), how one is
//! configured ([`settings`]), how a row becomes events ([`mapping`]), and [`import`], which commits
//! the events together with how far it has read, so that nothing is lost and nothing comes twice.

pub mod source;
pub mod sources;
pub mod upstream;

pub mod settings;

pub mod fields;
pub mod mapping;
pub mod moment;
pub mod number;
pub mod rows;
pub mod template;

pub mod cursor;
pub mod folders;
pub mod import;
pub mod input;
pub mod pause;
pub mod poison;
pub mod redrive;
pub mod tally;

pub use folders::Folders;
pub use import::{Import, ImportReport};
pub use input::Input;
pub use redrive::Redriver;
pub use settings::{SourceConfig, section};
pub use source::{IngestError, Item, Source};
pub use upstream::Upstream;
