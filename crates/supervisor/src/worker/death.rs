//! What is told of a horse that ended without an answer: RQ's text, why it had to end, what is left of it.

use std::time::Duration;

use super::oom::OomKill;
use super::outcome::Doom;
use crate::forkserver::reaper::{self, Exited};

const KIB_PER_MIB: u64 = 1024;

/// The end of a horse.
#[derive(Debug)]
pub struct Death {
    /// How its process has ended, if that could be had.
    pub exited: Option<Exited>,
    /// What it had to end for, if that is known.
    pub why: Option<Doom>,
    /// What is known beyond that; nothing if no process had the job.
    pub account: Option<Account>,
}

/// What is known of a process that had a job and is dead.
#[derive(Debug)]
pub struct Account {
    /// How long it had the job.
    pub took: Duration,
    /// What the kernel has to do with it.
    pub oom: Option<OomKill>,
    /// What it wrote to its standard error last.
    pub last_lines: Vec<String>,
}

impl Death {
    /// Whether it was ended by a signal that was not meant for the job. A job that ends its process itself
    /// has an exit code.
    pub fn is_lost(&self) -> bool {
        let meant = matches!(
            self.why,
            Some(Doom::KillHorse | Doom::HardLimit(_) | Doom::Memory { .. } | Doom::HungUp)
        );
        !meant && self.exited.is_none_or(|exited| exited.signal().is_some())
    }

    /// What is stored with the job. It begins with RQ's text, to the letter: people and their tools match
    /// on it.
    pub fn text(&self) -> String {
        let why = self.why.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut text = format!("{}{why}", rqs_text(self.exited));
        let Some(account) = &self.account else { return text };
        let mut lines = Vec::new();
        if let Some(exited) = self.exited {
            lines.push(format!(
                "It {} after {}{}.",
                how(exited),
                seconds(account.took),
                peak(exited)
            ));
        }
        lines.extend(account.oom.map(|oom| format!("The {oom}.")));
        if !account.last_lines.is_empty() {
            lines.push("Last lines of its stderr:".to_owned());
            lines.extend(account.last_lines.iter().map(|line| format!("  {line}")));
        }
        for line in lines {
            text.push('\n');
            text.push_str(&line);
        }
        text
    }

    /// One line for the log, which has what it wrote already.
    pub fn summary(&self) -> String {
        let said = rqs_text(self.exited);
        let mut summary = said.trim_end_matches("; ").to_owned();
        if let Some(exited) = self.exited {
            summary = format!("{summary}: {}{}", how(exited), peak(exited));
        }
        let why = self.why.as_ref().map(ToString::to_string);
        let oom = self.account.as_ref().and_then(|account| account.oom);
        for more in why.into_iter().chain(oom.map(|oom| format!("the {oom}"))) {
            summary = format!("{summary}; {more}");
        }
        summary
    }
}

/// RQ's text.
fn rqs_text(exited: Option<Exited>) -> String {
    let said = "Work-horse terminated unexpectedly; waitpid returned";
    match exited.map(|exited| (exited.status, exited.signal())) {
        Some((raw, Some(signal))) => format!("{said} {raw} (signal {signal}); "),
        Some((raw, None)) => format!("{said} {raw}; "),
        None => format!("{said} None; "),
    }
}

fn how(exited: Exited) -> String {
    let Some(signal) = exited.signal() else {
        return format!("ended with exit code {}", exited.code());
    };
    let name = match reaper::signal_name(exited.status) {
        "" => format!("signal {signal}"),
        name => name.to_owned(),
    };
    let dumped = if exited.has_dumped() { " (core dumped)" } else { "" };
    format!("was killed by {name}{dumped}")
}

fn peak(exited: Exited) -> String {
    exited.peak_kib.map_or(String::new(), |kib| {
        format!("; peak resident memory {} MiB", kib.div_ceil(KIB_PER_MIB))
    })
}

fn seconds(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(status: Option<i32>, why: Option<Doom>) -> Death {
        let exited = status.map(|status| Exited { status, peak_kib: Some(411 * 1024 + 1) });
        Death { exited, why, account: None }
    }

    fn with_account(mut death: Death, oom: Option<OomKill>, lines: &[&str]) -> Death {
        let last_lines = lines.iter().map(|line| (*line).to_owned()).collect();
        death.account = Some(Account { took: Duration::from_millis(12_340), oom, last_lines });
        death
    }

    #[test]
    fn it_is_described_in_rqs_words() {
        for (status, expected) in [
            (Some(9), "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); "),
            (Some(139), "Work-horse terminated unexpectedly; waitpid returned 139 (signal 11); "),
            (Some(768), "Work-horse terminated unexpectedly; waitpid returned 768; "),
            (None, "Work-horse terminated unexpectedly; waitpid returned None; "),
        ] {
            assert_eq!(death(status, None).text(), expected);
            let more = with_account(death(status, None), None, &["x"]).text();
            assert!(more.starts_with(&format!("{expected}\n")), "{more}");
        }
    }

    #[test]
    fn all_that_is_known_is_told() {
        let oom = Some(OomKill { limit: Some(512 * 1024 * 1024) });
        let killed = with_account(death(Some(9), None), oom, &["one", "  two"]);
        assert_eq!(
            killed.text(),
            "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); \n\
             It was killed by SIGKILL after 12.3 s; peak resident memory 412 MiB.\n\
             The kernel's out-of-memory killer was at work in this container (memory.max 512 MiB).\n\
             Last lines of its stderr:\n  one\n    two"
        );
        assert_eq!(
            killed.summary(),
            "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9): was killed by SIGKILL; \
             peak resident memory 412 MiB; the kernel's out-of-memory killer was at work in this container \
             (memory.max 512 MiB)"
        );
        let ended = with_account(death(Some(7 << 8), Some(Doom::HungUp)), None, &[]);
        let text = ended.text();
        assert!(
            text.contains(&format!("1792; {}\nIt ended with exit code 7 after", Doom::HungUp)),
            "{text}"
        );
        assert!(text.ends_with("412 MiB."), "{text}");
    }

    #[test]
    fn a_signal_has_its_name() {
        for (status, expected) in [
            (11, "was killed by SIGSEGV"),
            (0x80 | 6, "was killed by SIGABRT (core dumped)"),
            (40, "was killed by signal 40"),
            (0, "ended with exit code 0"),
        ] {
            assert_eq!(how(Exited::with(status)), expected);
        }
    }

    #[test]
    fn what_ends_itself_is_not_lost() {
        assert!(death(Some(9), None).is_lost() && death(None, None).is_lost());
        assert!(death(Some(15), Some(Doom::ColdStop)).is_lost());
        assert!(
            !death(Some(256), None).is_lost() && !death(Some(9), Some(Doom::KillHorse)).is_lost()
        );
    }
}
