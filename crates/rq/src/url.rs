//! Redis URLs, in the forms that redis-py reads.
//!
//! `redis://[[user]:[password]@][host][:port][/db][?options]`, the same with `rediss` for TLS, and
//! `unix://[[user]:[password]@]/path[?options]`. The options `db`, `username` and `password` win
//! over the rest of the URL. Nothing here says a password aloud: [`redacted`] is for everything
//! that people see.

use serde_json::Value;

use crate::endpoint::{Address, Endpoint};
use crate::error::ConnectError;

/// Reads a URL.
pub(crate) fn parse(url: &str) -> Result<Endpoint, ConnectError> {
    let malformed = |reason: String| ConnectError::Url { url: redacted(url), reason };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("it has no ://".into()))?;
    if rest.contains('#') {
        return Err(malformed("a # in it has to be written as %23".to_owned()));
    }
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut endpoint = Endpoint::default();
    let db = match python_scheme(scheme) {
        Some("unix") => {
            endpoint.address = unix(path).map_err(malformed)?;
            ""
        }
        Some(known) => {
            endpoint.encrypted = known == "rediss";
            set_host(&mut endpoint, host).map_err(malformed)?;
            path.trim_matches('/')
        }
        None => {
            return Err(malformed(
                "it does not begin with redis://, rediss:// (TLS) or unix://".into(),
            ));
        }
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    for (option, value) in [("db", db), ("username", user), ("password", password)] {
        endpoint.set(option, &Value::String(decoded(value))).map_err(malformed)?;
    }
    // The query goes first.
    for option in options.split('&') {
        let Some((option, value)) = option.split_once('=') else { continue };
        let value = Value::String(decoded(&value.replace('+', " ")));
        if matches!(option, "host" | "port" | "ssl") || value == "" {
            continue;
        }
        endpoint.set(option, &value).map_err(malformed)?;
    }
    Ok(endpoint)
}

/// The URL as redis-py reads it: it does not know Valkey's names.
pub fn for_redis_py(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((python_scheme(scheme)?, rest))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => url.to_owned(),
    }
}

fn python_scheme(scheme: &str) -> Option<&'static str> {
    match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => Some("redis"),
        "rediss" | "valkeys" => Some("rediss"),
        "unix" | "redis+unix" => Some("unix"),
        _ => None,
    }
}

/// A URL with its password hidden, also when it is malformed.
pub fn redacted(url: &str) -> String {
    let (start, options) = url.split_once('?').unwrap_or((url, ""));
    let mut shown = start.to_owned();
    for (index, option) in options.split('&').filter(|option| !option.is_empty()).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match option.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(option),
        }
    }
    without_password(&shown)
}

/// Hides the password of a login. It may hold what ends the authority (/, ? or #), and the scheme
/// may be missing: so all up to the last @ is the login.
fn without_password(url: &str) -> String {
    let Some((login, host)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme = login.find("://").map_or(0, |at| at + "://".len());
    match login[scheme..].find(':') {
        // Not even a user: this is no login in any good URL.
        Some(user) if login[scheme..scheme + user].contains('/') => {
            format!("{}***@{host}", &login[..scheme])
        }
        Some(user) => format!("{}:***@{host}", &login[..scheme + user]),
        None => url.to_owned(),
    }
}

fn set_host(endpoint: &mut Endpoint, host: &str) -> Result<(), String> {
    // The brackets of an IPv6 address may hold colons.
    let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((name, port)) => (name, port.strip_prefix(':').unwrap_or(port)),
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    endpoint.set("port", &Value::from(port))?;
    endpoint.set("host", &Value::String(decoded(name)))
}

fn unix(path: &str) -> Result<Address, String> {
    if path.trim_matches('/').is_empty() {
        return Err("it has no path to a socket".to_owned());
    }
    Ok(Address::Unix(decoded(path).into()))
}

/// Undoes percent encoding; what is no valid escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| first == b'%').and_then(|digits| {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            Some(digit(digits[0])? * 16 + digit(digits[1])?)
        });
        if let Some(byte) = escaped {
            bytes.push(byte as u8);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks address, database, user and password that a URL is read as.
    fn check(url: &str, address: &str, db: i64, user: Option<&str>, password: Option<&str>) {
        let endpoint = parse(url).unwrap();
        let client = endpoint.client().unwrap();
        let info = client.get_connection_info();
        let settings = info.redis_settings();
        assert_eq!(info.addr().to_string(), address, "{url}");
        assert_eq!(settings.db(), db, "{url}");
        assert_eq!(settings.username(), user, "{url}");
        assert_eq!(settings.password(), password, "{url}");
    }

    #[test]
    fn tcp_urls_have_the_defaults_of_redis_py() {
        check("redis://", "localhost:6379", 0, None, None);
        check("redis://localhost", "localhost:6379", 0, None, None);
        check("redis://h:7000/3", "h:7000", 3, None, None);
        check("valkey://h/3/", "h:6379", 3, None, None);
        check("redis://:7000?db=2", "localhost:7000", 2, None, None);
        check("redis://h/1?db=2&socket_timeout=5", "h:6379", 2, None, None);
        check("redis://[::1]:7000/1", "::1:7000", 1, None, None);
        check("REDIS://h", "h:6379", 0, None, None);
        check("rediss://h?ssl_cert_reqs=none", "h:6379", 0, None, None);
        check("redis://h?db=&username=&host=other", "h:6379", 0, None, None);
        assert!(parse("rediss://h").unwrap().encrypted);
        assert!(!parse("redis://h").unwrap().encrypted);
    }

    #[test]
    fn redis_py_is_told_names_that_it_knows() {
        assert_eq!(for_redis_py("valkeys://u:p@h/1?db=2"), "rediss://u:p@h/1?db=2");
        assert_eq!(for_redis_py("valkey://h"), "redis://h");
        assert_eq!(for_redis_py("unix:///s"), "unix:///s");
        assert_eq!(for_redis_py("nonsense"), "nonsense");
    }

    #[test]
    fn logins_are_read_from_both_places() {
        check("redis://:secret@h", "h:6379", 0, None, Some("secret"));
        check("redis://user:p%40s%2Fs@h/1", "h:6379", 1, Some("user"), Some("p@s/s"));
        check("redis://user@h", "h:6379", 0, Some("user"), None);
        check("redis://a:b@h?username=c&password=d%20e", "h:6379", 0, Some("c"), Some("d e"));
    }

    #[test]
    fn unix_urls_have_login_and_database_too() {
        check("unix:///run/r.sock", "/run/r.sock", 0, None, None);
        check("unix://user:pw@/run/r.sock?db=4", "/run/r.sock", 4, Some("user"), Some("pw"));
        check("unix://:pw@/a%20b", "/a b", 0, None, Some("pw"));
        check("redis+unix:///s?db=1&password=x&username=y", "/s", 1, Some("y"), Some("x"));
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_reason() {
        for (url, reason) in [
            ("localhost:6379", "no ://"),
            ("http://h", "does not begin with redis://"),
            ("redis://h:port", "port"),
            ("redis://user:pass#word@h", "%23"),
            ("redis://h:70000", "port"),
            ("redis://h/one", "the database is no number"),
            ("redis://h?db=-1", "the database is no number"),
            ("unix://", "path"),
            ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
            ("rediss://h?ssl_password=secret", "ssl_password"),
            ("rediss://h?ssl_min_version=772", "ssl_min_version"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, ConnectError::Url { .. }), "{url}");
            assert!(error.to_string().contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn passwords_are_hidden() {
        for (url, shown) in [
            ("redis://localhost:6379/0", "redis://localhost:6379/0"),
            ("redis://:secret@h:1/2", "redis://:***@h:1/2"),
            ("redis://user:p@ss@h/0", "redis://user:***@h/0"),
            ("redis://user:p/ss@h/0", "redis://user:***@h/0"),
            ("unix://:pw@/tmp/s", "unix://:***@/tmp/s"),
            ("unix:///tmp/s?db=1&password=secret&x=1", "unix:///tmp/s?db=1&password=***&x=1"),
            ("unix:///a@b", "unix:///a@b"),
            ("redis://user:p?ss@h/0", "redis://user:***@h/0"),
            ("redis://h:1/0?password=p@ss&x=1", "redis://h:1/0?password=***&x=1"),
            (":secret@h:1", ":***@h:1"),
            ("redis://h/0?password=a@b", "redis://h/0?password=***"),
            ("redis://u:p?q@h", "redis://u:***@h"),
            ("redis://u:p#q@h", "redis://u:***@h"),
            (":p@h:1", ":***@h:1"),
            ("u:p@h", "u:***@h"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
