//! The application that the demo runs, brought along in the binary, and what the demo changes in
//! it.

use std::io;
use std::path::Path;

use fs_err as fs;

/// The documents that become jobs, in the order in which they are enqueued.
pub(super) const DOCUMENTS: &[&str] = &["brief", "opinion", "order"];
/// A few words with one citation, for jobs that only show which code runs.
pub(super) const PASSAGE: &str = "See Brown v. Board of Education, 347 U.S. 483 (1954).";
/// How logs call such a job.
pub(super) const PASSAGE_DESCRIPTION: &str = "cite Brown v. Board of Education";
/// How that citation is listed before anything is changed.
pub(super) const LABEL_AT_FIRST: &str = "Brown v. Board of Education, 347 U.S. 483";

/// The file that is changed.
const RULES: &str = "casestrainer/citations.py";

/// One line of a file is replaced by another.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) file: &'static str,
    pub(super) before: &'static str,
    pub(super) after: &'static str,
    /// How the citation of [`PASSAGE`] is listed by the code that should then run.
    pub(super) label: &'static str,
}

/// A rule gets the year that was missing.
pub(super) const YEAR_ADDED: Edit = Edit {
    file: RULES,
    before: r#"LABEL = "{name}, {citation}""#,
    after: r#"LABEL = "{name}, {citation} ({year})""#,
    label: "Brown v. Board of Education, 347 U.S. 483 (1954)",
};

/// The next change lacks a quotation mark, so the last good code goes on serving.
pub(super) const BROKEN: Edit = Edit {
    file: RULES,
    before: YEAR_ADDED.after,
    after: r#"LABEL = "{name} ({year}), {citation}"#,
    label: YEAR_ADDED.label,
};

/// The quotation mark.
pub(super) const MENDED: Edit = Edit {
    file: RULES,
    before: BROKEN.after,
    after: r#"LABEL = "{name} ({year}), {citation}""#,
    label: "Brown v. Board of Education (1954), 347 U.S. 483",
};

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../examples/casestrainer/", $path)))),*]
    };
}

/// The files of the application and their text.
const FILES: &[(&str, &str)] = files![
    "README.md",
    "casestrainer/__init__.py",
    "casestrainer/citations.py",
    "casestrainer/documents.py",
    "casestrainer/enqueue.py",
    "casestrainer/tasks.py",
    "documents/brief.txt",
    "documents/opinion.txt",
    "documents/order.txt",
];

/// Writes a copy of the application.
pub(super) fn copy_to(folder: &Path) -> io::Result<()> {
    for (path, text) in FILES {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, text)?;
    }
    Ok(())
}

impl Edit {
    /// The number of the line that is replaced.
    pub(super) fn place(&self, folder: &Path) -> io::Result<usize> {
        let file = folder.join(self.file);
        let text = fs::read_to_string(&file)?;
        text.lines().position(|line| line == self.before).map(|place| place + 1).ok_or_else(|| {
            let message = format!("`{}` does not have the line `{}`", file.display(), self.before);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Saves the change in a copy of the application, as an editor would.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let place = self.place(folder)?;
        let file = folder.join(self.file);
        let text = fs::read_to_string(&file)?;
        let mut lines: Vec<&str> = text.lines().collect();
        lines[place - 1] = self.after;
        fs::write(file, lines.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs Python in a copy of the application and returns what it printed.
    fn python(folder: &Path, code: &str) -> Result<String, String> {
        let mut command = Command::new(embedded::testing::python());
        let output = command.args(["-B", "-c", code]).current_dir(folder).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[test]
    fn the_edits_follow_each_other_and_do_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        copy_to(folder.path()).unwrap();
        let cite = format!("from casestrainer.tasks import cite; print(cite({PASSAGE:?})[0])");
        assert_eq!(python(folder.path(), &cite).unwrap(), LABEL_AT_FIRST);
        let line = YEAR_ADDED.place(folder.path()).unwrap();
        YEAR_ADDED.save(folder.path()).unwrap();
        assert_eq!(python(folder.path(), &cite).unwrap(), YEAR_ADDED.label);
        BROKEN.save(folder.path()).unwrap();
        let error = python(folder.path(), &cite).unwrap_err();
        assert!(error.contains("SyntaxError"), "{error}");
        assert!(error.contains(&format!("citations.py\", line {line}")), "{error}");
        MENDED.save(folder.path()).unwrap();
        assert_eq!(python(folder.path(), &cite).unwrap(), MENDED.label);
        assert!(YEAR_ADDED.save(folder.path()).is_err());
    }

    #[test]
    fn the_documents_are_read_right() {
        let folder = tempfile::tempdir().unwrap();
        copy_to(folder.path()).unwrap();
        let code = "
from collections import Counter
from casestrainer.documents import names
from casestrainer.tasks import extract
documents = {name: extract(name) for name in names()}
for name, rows in documents.items():
    kinds = Counter(row['kind'] for row in rows)
    print(name, *(f'{kind}={count}' for kind, count in sorted(kinds.items())))
rows = sum(documents.values(), [])
cases = [row for row in rows if row['kind'] == 'full']
print(all(' v. ' in row['name'] and row['year'] and row['court'] is not None for row in cases))
print(all(row['refers_to'] for row in rows))
chosen = ('392 U.S. 1', 'Id.', '384 U.S. at 444', '159 F.2d 169', '5 U.S. (1 Cranch) 137')
for row in rows:
    if row['citation'] in chosen and row['pinpoint']:
        fields = 'name', 'citation', 'pinpoint', 'year', 'court', 'refers_to'
        print(*(row[field] for field in fields), *row['parallel'], sep='; ')
";
        let expected = "\
brief full=23 id=2 short=5 statute=4 supra=2
opinion full=24 id=2 short=3 statute=3 supra=2
order full=29 short=4 statute=3 supra=2
True
True
Terry v. Ohio; 392 U.S. 1; 21; 1968; scotus; 392 U.S. 1; 88 S. Ct. 1868; 20 L. Ed. 2d 889
Terry v. Ohio; Id.; 27; 1968; scotus; 392 U.S. 1
Marbury v. Madison; 5 U.S. (1 Cranch) 137; 177; 1803; scotus; 5 U.S. (1 Cranch) 137
Terry v. Ohio; 392 U.S. 1; 30; 1968; scotus; 392 U.S. 1
Arizona v. Gant; Id.; 344; 2009; scotus; 556 U.S. 332
Riley v. California; Id.; 393-97; 2014; scotus; 573 U.S. 373
Miranda v. Arizona; 384 U.S. at 444; 444; 1966; scotus; 384 U.S. 436
United States v. Carroll Towing Co.; 159 F.2d 169; 173; 1947; ca2; 159 F.2d 169";
        assert_eq!(python(folder.path(), code).unwrap(), expected);
    }
}
