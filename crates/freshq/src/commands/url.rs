//! `freshq url`: where the embedded Redis of this project listens.

use crate::console::Printer;
use crate::error::Error;
use crate::exit;

pub(crate) fn run() -> Result<u8, Error> {
    let here = std::env::current_dir()
        .map_err(|error| Error::Io { what: "find the current folder", error })?;
    let url = super::worker::embedded_url(&here).ok_or(Error::NoEmbedded(here))?;
    Printer::stdout().line(&url);
    Ok(exit::OK)
}
