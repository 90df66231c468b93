//! The manifest as a horse reads it.

use super::*;

struct World {
    cache: tempfile::TempDir,
    project: tempfile::TempDir,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let sources = Sources::start(cache.path()).unwrap();
        Self { cache, project: tempfile::tempdir().unwrap(), sources }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.path().join(name)
    }

    fn touch(&mut self, name: &str, text: Option<&str>, change: Change) {
        let path = self.path(name);
        match text {
            Some(text) => fs_err::write(&path, text).unwrap(),
            None => fs_err::remove_file(&path).unwrap(),
        }
        self.sources.take(&BTreeMap::from([(path, change)]));
    }

    fn first(&mut self, names: &[&str]) {
        let files = names.iter().map(|name| self.path(name)).collect();
        let reader = self.sources.first_reader(files).unwrap();
        let (inputs, mut heard) = mpsc::channel(10);
        reader.run(&inputs);
        while let Ok(input) = heard.try_recv() {
            match input {
                Input::SourcesRead(files) => self.sources.take_first(files),
                Input::AllSourcesRead => self.sources.complete(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Position, file name, and the text that is kept or what stands instead, of each line.
    fn lines(&self) -> Vec<(u64, String, String)> {
        let text = fs_err::read_to_string(self.sources.manifest()).unwrap();
        text.lines().map(|line| self.line(line)).collect()
    }

    fn line(&self, line: &str) -> (u64, String, String) {
        let parts: Vec<_> = line.splitn(4, ' ').collect();
        let name = Path::new(parts[3]).file_name().unwrap_or_default().to_str().unwrap();
        let place: Vec<_> = parts[2].split(':').collect();
        let what = if let [file, offset, length] = place[..] {
            let kept =
                fs_err::read_to_string(self.sources.manifest().with_extension(file)).unwrap();
            let (offset, length): (usize, usize) =
                (offset.parse().unwrap(), length.parse().unwrap());
            let text = &kept[offset..offset + length];
            assert_eq!(parts[1], hex(&Hash::from(Sha256::digest(text))));
            text.to_owned()
        } else {
            parts[1].to_owned()
        };
        (parts[0].parse().unwrap(), name.to_owned(), what)
    }
}

fn line(position: u64, name: &str, what: &str) -> (u64, String, String) {
    (position, name.to_owned(), what.to_owned())
}

#[test]
fn each_version_has_a_line_and_the_same_version_none() {
    let mut world = World::new();
    fs_err::write(world.path("a.py"), "one").unwrap();
    world.first(&["a.py"]);
    world.touch("a.py", Some("one"), Change::Written);
    world.touch("a.py", Some("two"), Change::Written);
    world.touch("b.py", Some("one"), Change::Created);
    world.touch("a.py", None, Change::Removed);
    world.touch("a.py", Some("two"), Change::Created);
    world.touch("a.txt", Some("data"), Change::Created);
    let lines = [
        line(0, "a.py", "one"),
        line(0, "", "complete"),
        line(1, "a.py", "two"),
        line(2, "b.py", "one"),
        line(3, "a.py", "gone"),
        line(4, "a.py", "two"),
    ];
    assert_eq!(world.lines(), lines);
    let kept = world.sources.manifest().with_extension("1");
    assert_eq!(fs_err::read_to_string(kept).unwrap(), "twoone", "each text once");
}

#[test]
fn what_was_touched_before_it_was_read_is_not_known_before_that() {
    let mut world = World::new();
    fs_err::write(world.path("a.py"), "one").unwrap();
    world.touch("a.py", Some("two"), Change::Written);
    world.touch("new.py", Some("new"), Change::Created);
    world.first(&["a.py"]);
    let lines = [
        line(0, "a.py", "unknown"),
        line(1, "a.py", "two"),
        line(2, "new.py", "new"),
        line(0, "", "complete"),
    ];
    assert_eq!(world.lines(), lines);
}

#[test]
fn a_large_file_is_known_by_its_hash_alone() {
    let mut world = World::new();
    let text = "#".repeat(SOURCE_BYTES_MAX + 1);
    world.touch("a.py", Some(&text), Change::Created);
    assert_eq!(world.lines(), [line(1, "a.py", &hex(&Hash::from(Sha256::digest(&text))))]);
    assert!(!world.sources.has_failed(), "that is no failure");
}

#[test]
fn a_position_settles_when_it_is_said() {
    let mut world = World::new();
    world.touch("a.py", Some("one"), Change::Created);
    assert_eq!(world.sources.settled(), 0);
    world.sources.settle();
    assert_eq!(world.sources.settled(), 1);
}

#[test]
fn files_of_a_process_that_is_gone_are_removed_and_others_are_not() {
    let world = World::new();
    let folder = world.cache.path().join("sources");
    for name in ["1-0.manifest", "1-0.0", "1-0.1"] {
        fs_err::write(folder.join(name), "").unwrap();
    }
    let other = Sources::start(world.cache.path()).unwrap();
    assert!(!folder.join("1-0.manifest").exists() && !folder.join("1-0.0").exists());
    assert!(world.sources.manifest().exists());
    assert_ne!(world.sources.manifest(), other.manifest());
    drop((other, world.sources));
    assert_eq!(fs_err::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn those_that_start_together_leave_each_other_their_files() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let sources = Sources::start(folder.path()).unwrap();
                    assert!(sources.manifest().exists());
                    assert!(sources.manifest().with_extension("1").exists());
                }
            });
        }
    });
    let left = fs_err::read_dir(folder.path().join("sources")).unwrap().count();
    assert_eq!(left, 0, "each removes its own");
}
