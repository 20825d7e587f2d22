//! What a command said and how it ended.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::process::{Command, Output, Stdio};

pub struct Said {
    /// `None` if it was killed.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It ended so, and said all of this.
    #[track_caller]
    pub fn ended(self, code: i32, parts: &[&str]) -> Said {
        let text = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        self
    }
}

/// Runs a command that nobody types into, until it ends.
pub fn run(command: &mut Command) -> Said {
    Said::of(&command.stdin(Stdio::null()).output().unwrap())
}
