//! Installed packages change under a running worker, and a file of the user's takes the name of a library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use embedded::testing;
use serde_json::{Value, json};

use crate::context::{Context, Worker};

/// Makes a wheel: its package has one module, which knows its version.
const WHEEL: &str = r#"
import sys, zipfile
folder, name, version = sys.argv[1:]
info = f"{name}-{version}.dist-info"
files = {
    f"{name}/__init__.py": f"VERSION = '{version}'\n",
    f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in files)
with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    for file, text in files.items():
        wheel.writestr(file, text)
"#;

const TASKS: &str = "
import os, sys

def version():
    import gadget
    return gadget.VERSION

def place():
    import gadget
    return [gadget.VERSION, os.getppid()]

def loaded():
    return 'gadget' in sys.modules
";

/// A virtual environment of its own, in which the packages of the tests' can be imported.
struct Environment {
    context: Context,
}

impl Environment {
    fn new() -> Self {
        let environment = Self { context: Context::new() };
        let (context, venv) = (&environment.context, environment.venv());
        context.write("tasks.py", TASKS);
        let make = ["-m", "venv", "--without-pip"].map(Path::new);
        environment.python(&testing::python(), &[&make[..], &[&venv]].concat());
        let theirs = purelib(&testing::python());
        let own = environment.site_packages();
        assert!(own.starts_with(environment.venv()), "{}", own.display());
        let theirs = theirs.to_str().expect("a path in UTF-8");
        fs_err::write(own.join("theirs.pth"), theirs).expect("written");
        environment
    }

    fn venv(&self) -> PathBuf {
        self.context.cache().join("venv")
    }

    fn site_packages(&self) -> PathBuf {
        purelib(&self.venv().join("bin/python"))
    }

    fn python(&self, python: &Path, args: &[&Path]) -> String {
        run(Command::new(python).args(args).current_dir(self.context.project.path()))
    }

    fn pip(&self, args: &[&str]) -> String {
        let mut command = Command::new(self.venv().join("bin/python"));
        command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).args(args);
        // Settings of the user's that would put packages elsewhere.
        for name in ["PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"] {
            command.env_remove(name);
        }
        run(command.env("PIP_CONFIG_FILE", "/dev/null"))
    }

    /// `pip install` of a wheel that is made here.
    fn install(&self, name: &str, version: &str) {
        let folder = self.context.cache();
        let script = self.context.path("wheel");
        fs_err::write(&script, WHEEL).expect("written");
        self.python(&testing::python(), &[&script, folder, Path::new(name), Path::new(version)]);
        let wheel = folder.join(format!("{name}-{version}-py3-none-any.whl"));
        let wheel = wheel.to_str().expect("a path in UTF-8");
        self.pip(&["install", "--no-index", "--no-deps", "--force-reinstall", wheel]);
    }

    fn worker(&self, args: &[&str]) -> Worker {
        let python = self.venv().join("bin/python");
        let python = python.to_str().expect("a path in UTF-8");
        self.context.worker(&[&["--reload", "--verbose", "--python", python], args].concat())
    }
}

/// Where an interpreter has its packages.
fn purelib(python: &Path) -> PathBuf {
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    PathBuf::from(run(Command::new(python).args(["-c", ask])).trim())
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn value(context: &Context, call: &str) -> Value {
    let end = context.eval(&format!("run({call})"));
    assert_eq!(end[0], "finished", "{call}: {end}");
    end[1].clone()
}

#[test]
fn what_pip_installs_is_what_jobs_import() {
    let environment = Environment::new();
    let context = &environment.context;
    environment.install("gadget", "1.0");
    let worker = environment.worker(&["--import", "tasks", "--preload", "gadget"]);
    let before = value(context, "'tasks.place'");
    assert_eq!(before[0], "1.0");
    assert_eq!(value(context, "'tasks.loaded'"), true, "the base has it");

    environment.install("gadget", "2.0");
    worker.wait_for("gadget 1.0 -> 2.0: what imported them is renewed");
    // Until the new base is ready, what is loaded serves.
    context.wait_until("run('tasks.version')[1] == '2.0'");
    assert_ne!(value(context, "'tasks.place'")[1], before[1], "a generation of the new base");
    assert_eq!(value(context, "'tasks.loaded'"), true);

    environment.pip(&["uninstall", "--yes", "gadget"]);
    worker.wait_for("gadget 2.0 removed");
    context.wait_until("run('tasks.loaded')[1] == False");
    let end = context.eval("run('tasks.version')");
    assert_eq!(end, json!(["failed", "ModuleNotFoundError: No module named 'gadget'"]));

    environment.install("gadget", "3.0");
    worker.wait_for("gadget 3.0: what imported them is renewed");
    context.wait_until("run('tasks.loaded')[1]");
    assert_eq!(value(context, "'tasks.version'"), "3.0");
    worker.stop();
}

#[test]
fn interpreters_that_were_never_forked_are_renewed_too() {
    let environment = Environment::new();
    let context = &environment.context;
    environment.install("gadget", "1.0");
    context.write("tasks.py", &format!("import gadget\n{TASKS}"));
    let worker = environment.worker(&["--import", "tasks", "--isolation", "spawn"]);
    assert_eq!(value(context, "'tasks.version'"), "1.0");
    environment.install("gadget", "2.0");
    context.wait_until("run('tasks.version')[1] == '2.0'");
    worker.stop();
}

#[test]
fn a_folder_that_a_path_file_adds_is_imported_from() {
    let environment = Environment::new();
    let context = &environment.context;
    let source = context.cache().join("source");
    fs_err::create_dir_all(source.join("gadget")).unwrap();
    fs_err::write(source.join("gadget/__init__.py"), "VERSION = 'edited'\n").unwrap();
    let worker = environment.worker(&["--import", "tasks"]);
    let end = context.eval("run('tasks.version')");
    assert_eq!(end[0], "failed", "{end}");
    // As `pip install --editable` does.
    let path = environment.site_packages().join("__editable__.gadget-1.0.pth");
    fs_err::write(path, source.to_str().unwrap()).unwrap();
    worker.wait_for("__editable__.gadget-1.0.pth: what imported them is renewed");
    context.wait_until("run('tasks.version') == ['finished', 'edited']");
    worker.stop();
}

#[test]
fn a_change_that_no_installer_ends_is_waited_for() {
    let environment = Environment::new();
    let context = &environment.context;
    environment.install("gadget", "1.0");
    let worker = environment.worker(&["--import", "tasks", "--preload", "gadget"]);
    let folder = environment.site_packages();
    // As pip, in the middle of an upgrade.
    fs_err::create_dir_all(folder.join("~adget")).unwrap();
    fs_err::rename(folder.join("gadget-1.0.dist-info"), folder.join("gadget-2.0.dist-info"))
        .unwrap();
    fs_err::remove_file(folder.join("gadget-2.0.dist-info/RECORD")).unwrap();
    fs_err::write(folder.join("gadget/__init__.py"), "VERSION = '2.0'  # longer\n").unwrap();
    fs_err::remove_dir_all(folder.join("~adget")).unwrap();
    // Time passes for the worker: this is well over the quiet that ends a change.
    worker.wait_for_times("packages are changing", 3);
    assert!(!worker.output().contains("is renewed"), "{}", worker.output());
    fs_err::write(folder.join("gadget-2.0.dist-info/RECORD"), "").unwrap();
    worker.wait_for("gadget 1.0 -> 2.0: what imported them is renewed");
    context.wait_until("run('tasks.version')[1] == '2.0'");
    worker.stop();
}

#[test]
fn without_rq_what_is_loaded_serves_until_it_is_back() {
    let environment = Environment::new();
    let context = &environment.context;
    environment.install("gadget", "1.0");
    let worker = environment.worker(&["--import", "tasks", "--preload", "gadget"]);
    let (theirs, hidden) = ("theirs.pth", "theirs.hidden");
    let folder = environment.site_packages();
    fs_err::rename(folder.join(theirs), folder.join(hidden)).unwrap();
    worker.wait_for("the new base ended while it started; the one before serves on");
    assert_eq!(value(context, "'tasks.version'"), "1.0");
    fs_err::rename(folder.join(hidden), folder.join(theirs)).unwrap();
    worker.wait_for_times("1 library modules imported", 2);
    assert_eq!(value(context, "'tasks.version'"), "1.0");
    worker.stop();
}

/// Libraries in a folder of their own; the project comes first in the import path.
fn shadowing(libraries: &[(&str, &str)]) -> (Context, Worker) {
    let context = Context::new();
    let folder = context.cache().join("libraries");
    fs_err::create_dir_all(&folder).expect("a folder");
    for (name, text) in libraries {
        fs_err::write(folder.join(name), text).expect("written");
    }
    context.write(
        "tasks.py",
        "import sys\nfrom gadget import NAME\ndef name():\n    return NAME\n\
         def paths():\n    return [sys.modules[name].__file__ for name in ('gadget', 'above') if name in sys.modules]\n",
    );
    let mut command = context.freshq();
    command
        .args(["worker", "--reload", "--verbose", "--url", &context.redis.url()])
        .args(["--import", "tasks"])
        .env("PYTHONPATH", format!("{}:{}", context.project.path().display(), folder.display()));
    let worker = Worker::start(command);
    worker.wait_for("  ready ");
    worker.wait_for("library modules imported");
    (context, worker)
}

#[test]
fn a_file_with_the_name_of_a_library_takes_its_place() {
    let (context, worker) = shadowing(&[("gadget.py", "NAME = 'library'\n")]);
    assert_eq!(value(&context, "'tasks.name'"), "library");
    for round in 0..3 {
        for n in 0..3 {
            context.write("gadget.py", &format!("NAME = 'mine {round} {n}'\n"));
            let name = value(&context, "'tasks.name'");
            assert_eq!(name, json!(format!("mine {round} {n}")), "{}", worker.output());
        }
        fs_err::remove_file(context.path("gadget.py")).unwrap();
        assert_eq!(value(&context, "'tasks.name'"), "library", "{}", worker.output());
        // It goes to the base again.
        worker.wait_for_times("1 library modules imported", 2 + round);
    }
    worker.stop();
}

#[test]
fn a_library_that_imports_it_is_renewed_with_it() {
    let libraries =
        [("above.py", "from beneath import NAME\n"), ("beneath.py", "NAME = 'library'\n")];
    let (context, worker) =
        shadowing(&[("gadget.py", "from above import NAME\n"), libraries[0], libraries[1]]);
    assert_eq!(value(&context, "'tasks.name'"), "library");
    context.write("beneath/__init__.py", "NAME = 'mine'\n");
    assert_eq!(value(&context, "'tasks.name'"), "mine", "{}", worker.output());
    context.write("beneath/__init__.py", "NAME = 'mine too'\n");
    assert_eq!(value(&context, "'tasks.name'"), "mine too", "{}", worker.output());
    worker.stop();
}
