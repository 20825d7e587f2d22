//! `tocsin config token`: a token for who pushes, and its hash for the configuration. The token is
//! printed once and kept nowhere.

use crate::cli::ConfigCommand;
use anyhow::Context;
use std::io::Write;
use tocsin_ingest::push::token_hash;

/// Prints what a configuration needs.
///
/// # Errors
/// If the system gives no random bytes, or nobody reads what is printed.
pub fn run(command: &ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Token { producer } = command;
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    let token = hex(&bytes);
    let hash = hex(&token_hash(token.as_bytes()));
    let text = format!(
        "# The token, for who pushes; it is kept nowhere else:\n# {token}\n\n[[producers]]\n\
         name = {producer:?}\ntoken_sha256 = \"{hash}\"\n\
         events = [\"reading\", \"listing\", \"order-row\", \"dataset-row\", \"swipe\"]\n"
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
