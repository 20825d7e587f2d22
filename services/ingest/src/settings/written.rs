//! What tells the configuration of a source from another one: what is written in the file, and not where
//! the file lies or how `--config` was spelt, on which resolved paths depend.

use super::SourceConfig;
use crate::sources;
use tocsin_domain::Id;

impl SourceConfig {
    /// Notes how it is written; before its paths are resolved.
    pub(super) fn note_as_written(&mut self) {
        // What is not whole is refused soon.
        self.written = sources::complete(self).ok().map(|whole| whole.said());
    }

    /// What tells it from another configuration of the same source.
    pub(crate) fn said(&self) -> Id {
        self.written.unwrap_or_else(|| Id::of("source", &[format!("{self:?}").as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use crate::pause::Whom;
    use crate::push;
    use crate::settings::section;
    use std::path::Path;
    use tocsin_service::Document;

    const TEXT: &str = "[push]\nwithout_token = true\n[[sources]]\nname = \"a\"\nkind = \"json-lines\"\n\
        event = \"reading\"\nsubject = \"{s}\"\nmeasure = \"m\"\nvalue = \"{v}\"\ntime = \"{t}\"\n\
        folder = \"in\"\n";

    /// Who is paused by this configuration: the source, and a producer whose events may go through it.
    fn whom(path: &Path) -> (Whom, Option<Whom>) {
        let document = Document::load(Some(path), std::iter::empty()).unwrap();
        let sources = section(&document).unwrap();
        let push = push::section(&document).unwrap();
        (Whom::source(&sources[0]), push::whom(&push, &sources, "push:anyone"))
    }

    #[test]
    fn who_is_paused_does_not_depend_on_how_the_configuration_is_called() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let (here, there) = (directory.path().join("t.toml"), other.join("t.toml"));
        std::fs::write(&here, TEXT).unwrap();
        std::fs::write(&there, TEXT).unwrap();
        let found = whom(&here);
        assert!(found.1.is_some());
        assert_eq!(whom(&other.join("../t.toml")), found, "another spelling");
        assert_eq!(whom(&there), found, "another place");
        for (from, to) in
            [("\"in\"", "\"inn\""), ("{s}", "{t}"), ("folder", "decimal = \",\"\nfolder")]
        {
            std::fs::write(&there, TEXT.replace(from, to)).unwrap();
            let other = whom(&there);
            assert!(other.0 != found.0 && other.1 != found.1, "{to}");
        }
    }
}
