//! From the outside world to events in the log.
//!
//! Read in this order: what a source is ([`source`]) and which there are ([`sources`]), how one is
//! configured ([`settings`]), how a row becomes events ([`mapping`]), and [`import`], which commits
//! the events together with how far it has read, so that nothing is lost and nothing comes twice.
//! [`poll`] does the same with what is asked of others, [`push`] takes what somebody sends, and
//! [`datasets`] files that belong together.

pub mod source;
pub mod sources;
pub mod upstream;

mod calls;
mod charset;

pub mod settings;

pub mod fields;
pub mod jq;
pub mod mapping;
pub mod moment;
pub mod number;
pub mod rows;
pub mod template;
pub mod weight;

pub mod cursor;
pub mod datasets;
pub mod folders;
pub mod import;
pub mod input;
pub mod own_topics;
pub mod pause;
pub mod poison;
pub mod poll;
pub mod push;
pub mod redrive;
pub mod tally;

pub use folders::Folders;
pub use import::{Import, ImportReport};
pub use input::Input;
pub use poll::{Office, Poller};
pub use redrive::Redriver;
pub use settings::{SourceConfig, section};
pub use source::{IngestError, Item, Source};
pub use upstream::Upstream;
