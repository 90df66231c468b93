//! A module of the user's has the name of a library by now, and comes first in an import.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Supervisor;
use crate::event::Event;
use crate::reload::machine::{GenerationId, Input};

/// The names that these files can be imported by from a folder of the import path.
pub(super) fn module_names(files: &BTreeSet<PathBuf>) -> Vec<String> {
    files.iter().filter_map(|file| module_name(file)).collect()
}

fn module_name(file: &Path) -> Option<String> {
    if file.extension()? != "py" {
        return None;
    }
    let name = match file.file_stem()? {
        init if init == "__init__" => file.parent()?.file_name()?,
        stem => stem,
    };
    name.to_str().map(str::to_owned)
}

impl Supervisor {
    /// The base has imported libraries of these names: another has to, before the code can be loaded.
    pub(super) fn renew_shadowed_base(&mut self, generation: GenerationId, names: &[String]) {
        if self.machine.loading() != Some(generation) {
            return;
        }
        let names = names.join(", ");
        self.report(&Event::Detail(format!("yours by now, so the base is renewed: {names}")));
        self.loading = None;
        self.chain.retire_bases();
        self.drive(Input::BaseGone);
        self.drive(Input::Unfit(generation));
        if let Some((starting, _)) = self.base_starting.take() {
            self.chain.discard_base(starting);
        }
        self.start_base();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_names_of_their_modules() {
        for (file, name) in [
            ("/app/yaml.py", Some("yaml")),
            ("/app/yaml/__init__.py", Some("yaml")),
            ("/app/templates/mail.html", None),
            ("/app/Makefile", None),
        ] {
            assert_eq!(module_name(Path::new(file)).as_deref(), name, "{file}");
        }
    }
}
