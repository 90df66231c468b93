//! Redis URLs, in the forms that redis-py reads.
//!
//! `redis://[[user]:[password]@][host][:port][/db][?options]` and
//! `unix://[[user]:[password]@]/path[?options]`. The options `db`, `username` and `password` win
//! over the rest of the URL; others concern redis-py alone and are passed over. Nothing here says
//! a password aloud: [`redacted`] is for everything that people see.

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use crate::error::ConnectError;

const HOST: &str = "localhost";
const PORT: u16 = 6379;

/// Reads a URL.
pub(crate) fn parse(url: &str) -> Result<ConnectionInfo, ConnectError> {
    let malformed = |reason: String| ConnectError::Url { url: redacted(url), reason };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("it has no ://".into()))?;
    if rest.contains('#') {
        return Err(malformed("a # in it has to be written as %23".to_owned()));
    }
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (address, db) = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => (tcp(host).map_err(malformed)?, path.trim_matches('/')),
        "unix" | "redis+unix" => (unix(path).map_err(malformed)?, ""),
        "rediss" | "valkeys" => return Err(ConnectError::Tls { url: redacted(url) }),
        _ => return Err(malformed("it does not begin with redis:// or unix://".into())),
    };
    let settings = settings(login, &decoded(db), options).map_err(malformed)?;
    let info = address.into_connection_info().map_err(|error| malformed(error.to_string()))?;
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// A URL with its password hidden, also when it is malformed.
pub(crate) fn redacted(url: &str) -> String {
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

fn tcp(host: &str) -> Result<ConnectionAddr, String> {
    // The brackets of an IPv6 address may hold colons.
    let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((name, port)) => (name, port.strip_prefix(':').unwrap_or(port)),
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    let port = match port {
        "" => PORT,
        port => port.parse().map_err(|_| "the port is no number from 0 to 65535")?,
    };
    let name = if name.is_empty() { HOST.to_owned() } else { decoded(name) };
    Ok(ConnectionAddr::Tcp(name, port))
}

fn unix(path: &str) -> Result<ConnectionAddr, String> {
    if path.trim_matches('/').is_empty() {
        return Err("it has no path to a socket".to_owned());
    }
    Ok(ConnectionAddr::Unix(decoded(path).into()))
}

fn settings(login: &str, db: &str, options: &str) -> Result<RedisConnectionInfo, String> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (mut user, mut password, mut db) = (decoded(user), decoded(password), db.to_owned());
    for option in options.split('&') {
        let Some((name, value)) = option.split_once('=') else { continue };
        let value = decoded(&value.replace('+', " "));
        match name {
            "db" => db = value,
            "username" | "user" => user = value,
            "password" | "pass" => password = value,
            _ => {}
        }
    }
    let number = match db.as_str() {
        "" => 0,
        // What stands there may be the end of a password that holds a slash: it is not repeated.
        db => db.parse::<u32>().map_err(|_| "the database is no number")?,
    };
    let mut settings = RedisConnectionInfo::default().set_db(number.into());
    if !user.is_empty() {
        settings = settings.set_username(user);
    }
    if !password.is_empty() {
        settings = settings.set_password(password);
    }
    Ok(settings)
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
        let info = parse(url).unwrap();
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
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, ConnectError::Url { .. }), "{url}");
            assert!(error.to_string().contains(reason), "{url}: {error}");
        }
        assert!(matches!(parse("rediss://h"), Err(ConnectError::Tls { .. })));
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
