//! What jobs have been seen to import, kept for the project's next start.
//!
//! User modules are imported by each generation, library modules by the base. Nothing is
//! guessed by walking folders: a module is here because a job needed it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::held_back::HeldBack;
use crate::settings::Preload;

/// Most names kept of each kind; beyond it something is wrong with what is learned.
pub const NAMES_MAX: usize = 20_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lists {
    /// Interpreter and rq the lists were learned with; others start anew.
    interpreter: String,
    modules: Vec<String>,
    libraries: Vec<String>,
    /// Fingerprint of what was installed; with something else another attempt is made with what follows.
    #[serde(default)]
    packages: String,
    /// Libraries that cannot be imported outside the user's code.
    excluded: Vec<String>,
    /// Packages that leave behind what no fork survives.
    #[serde(default)]
    unfit: Vec<String>,
    #[serde(default)]
    held_back: HeldBack,
}

/// The learned lists and the file they are kept in.
#[derive(Debug)]
pub struct LearnedImports {
    file: PathBuf,
    lists: Lists,
    /// What the user wants in bases and what not, and in this run keeps out what leads to that.
    preload: Preload,
    /// This run's bases import no libraries; see [`Self::import_no_libraries`].
    bare: bool,
}

impl LearnedImports {
    /// Reads what earlier runs learned; an unreadable or foreign file is the same as none.
    pub fn load(project_cache: &Path, interpreter: &str, preload: &Preload) -> Self {
        let file = project_cache.join("learned.json");
        let lists = fs_err::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Lists>(&bytes).ok())
            .filter(|lists| lists.interpreter == interpreter)
            .unwrap_or_else(|| Lists { interpreter: interpreter.to_owned(), ..Lists::default() });
        Self { file, lists, preload: preload.clone(), bare: false }
    }

    /// User modules, in the order to import them.
    pub fn modules(&self) -> &[String] {
        &self.lists.modules
    }

    /// User modules that are left to horses.
    pub fn held_back(&mut self) -> &mut HeldBack {
        &mut self.lists.held_back
    }

    /// Whether a generation is to import this user module.
    pub fn is_for_generations(&self, module: &str) -> bool {
        !self.lists.held_back.covers(module)
    }

    /// Library modules for a base, in the order to import them.
    pub fn libraries(&self) -> Vec<String> {
        if self.bare {
            return Vec::new();
        }
        let wanted = self.preload.only.as_ref().unwrap_or(&self.lists.libraries);
        wanted.iter().filter(|name| !self.is_kept_out(name)).cloned().collect()
    }

    fn is_kept_out(&self, name: &str) -> bool {
        self.preload.never.iter().chain(&self.lists.unfit).any(|package| is_in(name, package))
    }

    /// Keeps a library's whole package out of this run's bases.
    pub fn keep_out(&mut self, library: &str) {
        self.preload.never.push(package_of(library));
    }

    /// Keeps a library's whole package out of bases, also of later runs: it survives no fork.
    pub fn keep_out_unfit(&mut self, library: &str) {
        add(&mut self.lists.unfit, vec![package_of(library)]);
    }

    /// What is installed may be other versions than before, with which bases fare better.
    pub fn packages_are(&mut self, fingerprint: &str) {
        if self.lists.packages != fingerprint {
            fingerprint.clone_into(&mut self.lists.packages);
            self.lists.excluded.clear();
            self.lists.unfit.clear();
        }
    }

    /// Adds user modules; tells whether any was new.
    pub fn add_modules(&mut self, names: Vec<String>) -> bool {
        add(&mut self.lists.modules, names)
    }

    /// Adds library modules; tells whether any was new.
    pub fn add_libraries(&mut self, names: Vec<String>) -> bool {
        let excluded = &self.lists.excluded;
        let names = names.into_iter().filter(|name| !excluded.contains(name)).collect();
        add(&mut self.lists.libraries, names)
    }

    /// For the rest of this run each generation imports its libraries itself: a base with them
    /// cannot be forked from, or does not survive.
    pub fn import_no_libraries(&mut self) {
        self.bare = true;
    }

    /// Forgets user modules that no longer exist.
    pub fn forget_modules(&mut self, gone: &[String]) {
        self.lists.modules.retain(|name| !gone.contains(name));
    }

    /// Forgets all user modules.
    pub fn forget_all_modules(&mut self) {
        self.lists.modules.clear();
    }

    /// Keeps libraries out of the base from now on: they cannot be imported there.
    pub fn exclude_libraries(&mut self, skipped: &[(String, String)]) {
        let names: Vec<String> = skipped.iter().map(|(name, _)| name.clone()).collect();
        self.forget_libraries(&names);
        add(&mut self.lists.excluded, names);
    }

    /// Forgets libraries; a generation that imports one brings it back.
    pub fn forget_libraries(&mut self, names: &[String]) {
        self.lists.libraries.retain(|name| !names.contains(name));
    }

    /// Writes the lists for the next start.
    pub fn save(&self) -> std::io::Result<()> {
        let temporary = self.file.with_extension(format!("json.{}", std::process::id()));
        fs_err::write(&temporary, serde_json::to_vec_pretty(&self.lists)?)?;
        fs_err::rename(temporary, &self.file)
    }
}

/// Whether a module is this package or in it.
pub(super) fn is_in(name: &str, package: &str) -> bool {
    name.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn package_of(library: &str) -> String {
    library.split('.').next().unwrap_or(library).to_owned()
}

fn add(list: &mut Vec<String>, names: Vec<String>) -> bool {
    let before = list.len();
    for name in names {
        if list.len() < NAMES_MAX && !list.contains(&name) {
            list.push(name);
        }
    }
    before < list.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cache: &Path, interpreter: &str) -> LearnedImports {
        LearnedImports::load(cache, interpreter, &Preload::default())
    }

    #[test]
    fn what_the_user_wants_in_bases_goes_before_what_was_learned() {
        let cache = tempfile::tempdir().unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let preload = Preload { only: None, never: names(&["pandas"]) };
        let mut learned = LearnedImports::load(cache.path(), "3.11", &preload);
        learned.add_libraries(names(&["pandas", "pandas.core", "pandasql", "yaml.reader"]));
        assert_eq!(learned.libraries(), ["pandasql", "yaml.reader"]);
        learned.keep_out("yaml.reader");
        assert_eq!(learned.libraries(), ["pandasql"]);
        let preload = Preload { only: Some(names(&["json"])), never: Vec::new() };
        let mut learned = LearnedImports::load(cache.path(), "3.11", &preload);
        learned.add_libraries(names(&["pandas"]));
        assert_eq!(learned.libraries(), ["json"]);
    }

    #[test]
    fn lists_survive_a_restart_but_not_another_interpreter() {
        let cache = tempfile::tempdir().unwrap();
        let mut learned = load(cache.path(), "3.11");
        assert!(learned.add_modules(vec!["app.tasks".into()]));
        assert!(!learned.add_modules(vec!["app.tasks".into()]));
        assert!(learned.add_libraries(vec!["pandas".into(), "odd".into()]));
        learned.exclude_libraries(&[("odd".into(), "ImportError".into())]);
        assert!(!learned.add_libraries(vec!["odd".into()]), "it would be tried for ever");
        learned.save().unwrap();
        let again = load(cache.path(), "3.11");
        assert_eq!(again.modules(), ["app.tasks"]);
        assert_eq!(again.libraries(), ["pandas"]);
        assert!(load(cache.path(), "3.12").modules().is_empty());
    }

    #[test]
    fn what_survives_no_fork_stays_out_in_later_runs_too() {
        let cache = tempfile::tempdir().unwrap();
        let mut learned = load(cache.path(), "3.11");
        learned.add_libraries(vec!["grpc".into(), "grpc.aio".into(), "grpcio_tools".into()]);
        learned.keep_out_unfit("grpc.aio");
        learned.held_back().hold("app.db");
        learned.save().unwrap();
        let again = load(cache.path(), "3.11");
        assert_eq!(again.libraries(), ["grpcio_tools"]);
        assert!(!again.is_for_generations("app.db.pool"));
        assert!(again.is_for_generations("app"));
    }

    #[test]
    fn other_packages_are_another_chance() {
        let cache = tempfile::tempdir().unwrap();
        let mut learned = load(cache.path(), "3.11");
        learned.packages_are("grpc 1.0");
        learned.add_libraries(vec!["grpc".into()]);
        learned.keep_out_unfit("grpc");
        learned.exclude_libraries(&[("odd".into(), "ImportError".into())]);
        learned.packages_are("grpc 1.0");
        assert_eq!(learned.libraries(), [""; 0]);
        learned.packages_are("grpc 2.0");
        assert_eq!(learned.libraries(), ["grpc"]);
        assert!(learned.add_libraries(vec!["odd".into()]));
    }

    #[test]
    fn a_damaged_file_is_the_same_as_none() {
        let cache = tempfile::tempdir().unwrap();
        fs_err::write(cache.path().join("learned.json"), "{half").unwrap();
        assert!(load(cache.path(), "3.11").modules().is_empty());
    }
}
