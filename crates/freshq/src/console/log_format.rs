//! Formats of Python's `logging`, as `--log-format` and `--date-format` take them.
//!
//! `%(name)s` with flags, width and precision, and `%%`. The attributes are those of a log record
//! that make sense outside Python; another one is refused at the start, by name.

use jiff::ZonedDateTime;
use jiff::fmt::strtime::BrokenDownTime;

use super::Level;

/// RQ's defaults.
pub(crate) const LOG_FORMAT: &str = "%(asctime)s %(message)s";
pub(crate) const DATE_FORMAT: &str = "%H:%M:%S";

/// The logger whose lines these would be in RQ.
const LOGGER: &str = "rq.worker";

/// A format that is known to make sense.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogFormat {
    parts: Vec<Part>,
    date: String,
}

/// What a line is about.
pub(crate) struct Said<'a> {
    pub(crate) level: Level,
    pub(crate) message: &'a str,
    pub(crate) now: &'a ZonedDateTime,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field { attribute: Attribute, left: bool, zero: bool, width: usize, precision: Option<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Attribute {
    Asctime,
    Created,
    Levelname,
    Levelno,
    Message,
    Msecs,
    Name,
    Process,
    ProcessName,
    ThreadName,
}

const ATTRIBUTES: [(&str, Attribute); 10] = [
    ("asctime", Attribute::Asctime),
    ("created", Attribute::Created),
    ("levelname", Attribute::Levelname),
    ("levelno", Attribute::Levelno),
    ("message", Attribute::Message),
    ("msecs", Attribute::Msecs),
    ("name", Attribute::Name),
    ("process", Attribute::Process),
    ("processName", Attribute::ProcessName),
    ("threadName", Attribute::ThreadName),
];

impl LogFormat {
    /// Reads both formats; the error says which part makes no sense.
    pub(crate) fn parse(log: &str, date: &str) -> Result<Self, String> {
        BrokenDownTime::from(&ZonedDateTime::now())
            .to_string(date)
            .map_err(|error| format!("the date format {date:?} makes no sense: {error}"))?;
        let mut parts = Vec::new();
        let mut rest = log;
        while let Some(at) = rest.find('%') {
            push_text(&mut parts, &rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                push_text(&mut parts, "%");
                rest = after;
            } else {
                let (part, after) = field(rest).ok_or_else(|| unknown(log, rest))?;
                parts.push(part);
                rest = after;
            }
        }
        push_text(&mut parts, rest);
        Ok(Self { parts, date: date.to_owned() })
    }

    /// One line.
    pub(crate) fn line(&self, said: &Said<'_>) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field { attribute, left, zero, width, precision } => {
                    let text = self.value(*attribute, said, *precision);
                    let missing = width.saturating_sub(text.chars().count());
                    let fill = if *zero && !*left { "0" } else { " " }.repeat(missing);
                    if *left {
                        line.extend([text.as_str(), fill.as_str()]);
                    } else {
                        line.extend([fill.as_str(), text.as_str()]);
                    }
                }
            }
        }
        line
    }

    fn value(&self, attribute: Attribute, said: &Said<'_>, precision: Option<usize>) -> String {
        let Said { level, message, now } = said;
        let created = now.timestamp().as_microsecond() as f64 / 1e6;
        match attribute {
            Attribute::Asctime => {
                BrokenDownTime::from(*now).to_string(&self.date).unwrap_or_default()
            }
            Attribute::Created => format!("{created:.*}", precision.unwrap_or(6)),
            Attribute::Levelname => level.name().to_owned(),
            Attribute::Levelno => level.number().to_string(),
            Attribute::Message => (*message).to_owned(),
            Attribute::Msecs => {
                format!("{:.*}", precision.unwrap_or(0), f64::from(now.millisecond()))
            }
            Attribute::Name => LOGGER.to_owned(),
            Attribute::Process => std::process::id().to_string(),
            Attribute::ProcessName => "MainProcess".to_owned(),
            Attribute::ThreadName => "MainThread".to_owned(),
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// Reads what follows a `%`: name, flags, width, precision, type.
fn field(text: &str) -> Option<(Part, &str)> {
    let (name, rest) = text.strip_prefix('(')?.split_once(')')?;
    let attribute = ATTRIBUTES.iter().find(|(known, _)| *known == name)?.1;
    let flags = rest.len() - rest.trim_start_matches(['-', '0', '+', ' ', '#']).len();
    let (flags, rest) = rest.split_at(flags);
    let (width, rest) = number(rest);
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let (precision, rest) = number(rest);
            (Some(precision), rest)
        }
        None => (None, rest),
    };
    let kind = rest.chars().next().filter(|kind| "srdifFgG".contains(*kind))?;
    let part = Part::Field {
        attribute,
        left: flags.contains('-'),
        zero: flags.contains('0'),
        width,
        precision,
    };
    Some((part, &rest[kind.len_utf8()..]))
}

fn number(text: &str) -> (usize, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    // No line is wider than this, whatever somebody asks for.
    (number.parse().unwrap_or(0).min(1000), rest)
}

fn unknown(log: &str, rest: &str) -> String {
    let names: Vec<_> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
    let part: String = rest.chars().take(20).collect();
    format!(
        "the log format {log:?} makes no sense at \"%{part}\"; it takes %(name)s with one of {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        "2026-01-02T03:04:05.006007+00[+00]".parse().unwrap()
    }

    fn line(log: &str, date: &str) -> String {
        let said = Said { level: Level::Warning, message: "hello", now: &now() };
        LogFormat::parse(log, date).unwrap().line(&said)
    }

    #[test]
    fn formats_of_python_are_understood() {
        for (log, date, expected) in [
            (LOG_FORMAT, DATE_FORMAT, "03:04:05 hello"),
            ("%(levelname)-8s|%(message)7s|", "%H", "WARNING |  hello|"),
            ("100%% %(name)s %(levelno)d", "%H", "100% rq.worker 30"),
            ("%(asctime)s.%(msecs)03d", "%Y-%m-%d %H:%M:%S", "2026-01-02 03:04:05.006"),
            ("%(created).3f", "%H", "1767323045.006"),
            ("plain", "%H", "plain"),
        ] {
            assert_eq!(line(log, date), expected, "{log}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (log, date, part) in [
            ("%(colour)s", "%H", "%(colour)s"),
            ("%(message)", "%H", "%(message)"),
            ("50% of it", "%H", "% of it"),
            ("%(message)s", "%!", "date format"),
        ] {
            let error = LogFormat::parse(log, date).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
