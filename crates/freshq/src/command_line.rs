//! The words of the command line, and what others on the machine see of them.
//!
//! Everybody may list processes with their arguments. So passwords in URLs are overwritten in the memory
//! that the list is read from, once the words have been taken. The list has them until then, for about a
//! millisecond, as has the history of a shell: the environment is the better place.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Longest command line that is looked at; Linux allows no longer one by default.
const WORDS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Where `/proc/self/stat` has the bounds of the words, counted from after the name of the process.
const BOUNDS_FIELD: usize = 45;

/// Takes the words, and hides passwords from lists of processes. Where that cannot be done they stay.
pub(crate) fn take() -> Vec<OsString> {
    let words = std::env::args_os().collect();
    drop(hide());
    words
}

/// The text without passwords of URLs in it.
pub(crate) fn without_passwords(text: &str) -> Option<String> {
    let shown = text.contains("://").then(|| rq::redacted(text))?;
    (shown != text).then_some(shown)
}

fn hide() -> io::Result<()> {
    let Some((start, length)) = bounds(&fs_err::read_to_string("/proc/self/stat")?) else {
        return Ok(());
    };
    let memory = std::fs::File::options().read(true).write(true).open("/proc/self/mem")?;
    let mut words = vec![0; length];
    memory.read_exact_at(&mut words, start)?;
    let mut at = start;
    for word in words.split(|byte| *byte == 0) {
        if let Some(shown) = std::str::from_utf8(word).ok().and_then(without_passwords) {
            memory.write_all_at(&fitted(shown, word.len()), at)?;
        }
        at += word.len() as u64 + 1;
    }
    Ok(())
}

/// Where the words are in the memory of the process, and how many bytes they have.
fn bounds(line: &str) -> Option<(u64, usize)> {
    // The name of the process may hold spaces and parentheses itself.
    let mut fields = line.rsplit_once(") ")?.1.split(' ').skip(BOUNDS_FIELD);
    let start: u64 = fields.next()?.parse().ok()?;
    let end: u64 = fields.next()?.parse().ok()?;
    let length = end.checked_sub(start).filter(|length| (1..=WORDS_BYTES_MAX).contains(length))?;
    Some((start, length as usize))
}

/// A word in the room of another: the rest is zeros, which lists show as spaces or not at all.
fn fitted(word: String, room: usize) -> Vec<u8> {
    let mut bytes = word.into_bytes();
    bytes.resize(room, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_urls_lose_their_passwords_and_others_stay() {
        for (word, shown) in [
            ("redis://:secret@h/1", Some("redis://:***@h/1")),
            ("--url=redis://me:secret@h", Some("--url=redis://me:***@h")),
            ("-uunix://:secret@/s", Some("-uunix://:***@/s")),
            ("redis://h?password=secret", Some("redis://h?password=***")),
            ("redis://h:6379/1", None),
            ("queue:of@somebody", None),
        ] {
            assert_eq!(without_passwords(word).as_deref(), shown, "{word}");
        }
    }

    #[test]
    fn what_is_shown_has_the_room_of_the_word() {
        assert_eq!(fitted("ab".to_owned(), 4), b"ab\0\0");
        assert_eq!(fitted("redis://:***@h".to_owned(), 12), b"redis://:***");
    }

    #[test]
    fn bounds_are_found_whatever_the_process_is_called() {
        let rest: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(bounds(&format!("1 (a) b ) {}", rest.join(" "))), Some((48, 1)));
        assert_eq!(bounds("1 (a) S 1 2"), None);
    }
}
