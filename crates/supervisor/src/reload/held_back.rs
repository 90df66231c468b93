//! User modules that generations do not import, because what they leave behind survives no fork:
//! threads, connected sockets. Horses import them themselves.
//!
//! Each such import is a trial: where nothing is left behind any more, a generation imports the module
//! again. That may be wrong (it need not leave the same in both), so it happens a few times at most.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::learned::is_in;

/// How often in a run a module is given back to generations, at most.
pub const LET_GO_MAX: u32 = 5;

/// The modules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeldBack {
    modules: Vec<String>,
    /// How often each was let go in this run.
    #[serde(skip)]
    let_go: BTreeMap<String, u32>,
}

impl HeldBack {
    /// Leaves a module to horses from now on.
    pub fn hold(&mut self, module: &str) {
        if !self.covers(module) {
            self.modules.push(module.to_owned());
        }
    }

    /// Whether a module, or a package that it is in, is left to horses.
    pub fn covers(&self, module: &str) -> bool {
        self.modules.iter().any(|held| is_in(module, held))
    }

    /// A horse has imported `modules`, and only the `unfit` among them left something behind. Tells
    /// whether any is for generations again.
    pub fn imported(&mut self, modules: &[String], unfit: &[String]) -> bool {
        let before = self.modules.len();
        let let_go = &mut self.let_go;
        self.modules.retain(|held| {
            if !modules.contains(held) || unfit.contains(held) {
                return true;
            }
            let times = let_go.entry(held.clone()).or_default();
            *times += 1;
            LET_GO_MAX < *times
        });
        self.modules.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_package_that_is_held_back_holds_what_is_in_it() {
        let mut held = HeldBack::default();
        held.hold("app.db");
        for (module, expected) in
            [("app.db", true), ("app.db.pool", true), ("app.dbs", false), ("app", false)]
        {
            assert_eq!(held.covers(module), expected, "{module}");
        }
    }

    #[test]
    fn a_module_is_let_go_when_it_leaves_nothing_behind_but_not_for_ever() {
        let mut held = HeldBack::default();
        let module = names(&["app.db"]);
        for _ in 0..LET_GO_MAX {
            held.hold("app.db");
            assert!(!held.imported(&module, &module));
            assert!(!held.imported(&names(&["app"]), &[]));
            assert!(held.covers("app.db"));
            assert!(held.imported(&module, &[]));
            assert!(!held.covers("app.db"));
        }
        held.hold("app.db");
        assert!(!held.imported(&module, &[]), "it goes back and forth");
        assert!(held.covers("app.db"));
    }
}
