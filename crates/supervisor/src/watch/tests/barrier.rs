//! The promise: what was saved before a drain is in its answer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

const KINDS: usize = 12;

/// More than [`SAVES`] with `WATCH_SAVES=1000000`.
fn saves() -> usize {
    std::env::var("WATCH_SAVES").ok().and_then(|text| text.parse().ok()).unwrap_or(SAVES)
}

/// For somebody who waits for a long run.
fn show_progress(number: usize) {
    if number > 0 && number.is_multiple_of(50_000) {
        std::io::stderr().write_all(format!("  {number} saves\n").as_bytes()).unwrap();
    }
}

/// Another process that writes files.
struct Neighbour {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Neighbour {
    fn start() -> Self {
        let script = r#"while read -r path text; do printf %s "$text" > "$path"; echo; done"#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn save(&mut self, path: &Path, text: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        writeln!(input, "{} {text}", path.display()).unwrap();
        self.said.read_line(&mut String::new()).unwrap();
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// Saves a file in one of many ways; returns what the drain must tell of.
fn save_somehow(play: &Play, neighbour: &mut Neighbour, kind: usize, number: usize) -> PathBuf {
    let text = format!("{number:08}");
    let path = play.path(&format!("pkg/file{}.py", number % 7));
    match kind {
        0 => fs::write(&path, text).unwrap(),
        1 => save_atomically(&path, &text),
        2 => {
            let exists = path.exists();
            fs::write(&path, if exists { "same len" } else { "text" }).unwrap();
        }
        3 => {
            let _missing = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
        }
        4 => {
            let _missing = fs::remove_file(&path);
            let source = play.beside(&format!("source{number}"));
            fs::write(&source, text).unwrap();
            fs::hard_link(&source, &path).unwrap();
        }
        5 => {
            let _missing = fs::remove_file(&path);
            let source = play.beside(&format!("target{number}"));
            fs::write(&source, text).unwrap();
            symlink(&source, &path).unwrap();
        }
        6 => {
            let path = play.path(&format!("new{number}/deep/file.py"));
            save(&path, &text);
            return path;
        }
        7 => {
            save(&play.beside("ready/file.py"), &text);
            fs::rename(play.beside("ready"), play.path(&format!("moved{number}"))).unwrap();
            return play.path(&format!("moved{number}/file.py"));
        }
        8 => {
            fs::write(&path, text).unwrap();
            fs::rename(&path, play.path("pkg/other.py")).unwrap();
            return play.path("pkg/other.py");
        }
        9 => {
            let path = play.path("pkg/data.json");
            fs::write(&path, text).unwrap();
            return path;
        }
        10 => neighbour.save(&path, &text),
        _ => {
            fs::write(&path, &text).unwrap();
            fs::copy(&path, play.path("pkg/copy.py")).unwrap();
            return play.path("pkg/copy.py");
        }
    }
    path
}

#[test]
fn many_saves_are_each_in_the_drain_that_follows() {
    let seed = 0x5eed_0001;
    let mut random = Random(seed);
    let mut play = Play::with(&["pkg/a.py"]);
    let mut neighbour = Neighbour::start();
    for number in 0..saves() {
        show_progress(number);
        let kind = random.below(KINDS);
        let path = save_somehow(&play, &mut neighbour, kind, number);
        let drained = play.drain();
        let context = format!("seed {seed:#x}, number {number}, kind {kind}");
        assert!(drained.changed.contains_key(&path), "{path:?} {context}");
        assert!(!drained.unfinished.contains(&path), "{path:?} {context}");
        if kind >= 6 && path.starts_with(play.path("pkg")) {
            continue;
        }
        let top = path.strip_prefix(&play.root).unwrap().iter().next().unwrap();
        if top != "pkg" {
            fs::remove_dir_all(play.root.join(top)).unwrap();
        }
    }
    play.drain();
    play.expect_true("after many saves");
}

/// Goal: the same while others keep the watcher busy. Method: threads that make, move and
/// remove folders all the time.
#[test]
fn saves_are_seen_amid_other_changes() {
    let mut play = Play::with(&["pkg/a.py"]);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let root = play.root.clone();
    let storm = std::thread::spawn(move || {
        let mut random = Random(7);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let [one, other] =
                [random.below(5), random.below(5)].map(|n| root.join(format!("storm{n}")));
            save(&one.join("deep/a.py"), "text");
            let _busy = fs::rename(&one, &other);
            if random.below(3) == 0 {
                let _absent = fs::remove_dir_all(&other);
            }
        }
    });
    let mut random = Random(11);
    let mut neighbour = Neighbour::start();
    for number in 0..SAVES / 10 {
        let kind = random.below(KINDS);
        let path = save_somehow(&play, &mut neighbour, kind, number);
        let drained = play.drain();
        assert!(drained.changed.contains_key(&path), "{path:?} number {number}, kind {kind}");
    }
    drop(stop);
    storm.join().unwrap();
    play.drain();
    play.expect_true("after the storm");
}
