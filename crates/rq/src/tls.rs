//! How an encrypted connection is made sure of, from options in redis-py's names.

use std::path::{Path, PathBuf};

use redis::{ClientTlsConfig, TlsCertificates};
use serde_json::Value;

use crate::error::ConnectError;
use crate::option::{text, truth};

/// Number of TLS 1.2 in Python's `ssl.TLSVersion`, the oldest that is spoken here.
const OLDEST_TLS: u32 = 0x0303;
/// What every certificate in PEM form begins with.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// The options about TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// Whether the server has to prove who it is.
    pub(crate) verify: bool,
    /// Whether its certificate has to be for the name that was asked for.
    pub(crate) check_hostname: bool,
    ca_certs: Option<PathBuf>,
    ca_path: Option<PathBuf>,
    ca_data: Option<String>,
    certfile: Option<PathBuf>,
    keyfile: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            verify: true,
            check_hostname: true,
            ca_certs: None,
            ca_path: None,
            ca_data: None,
            certfile: None,
            keyfile: None,
        }
    }
}

impl Tls {
    /// Takes an option whose name begins with `ssl_`.
    pub(crate) fn set(&mut self, option: &str, value: &Value) -> Result<(), String> {
        let path = || text(value).map(PathBuf::from);
        match option {
            "ssl_cert_reqs" => self.verify = is_verified(value)?,
            "ssl_check_hostname" => self.check_hostname = truth(value),
            "ssl_ca_certs" => self.ca_certs = path(),
            "ssl_ca_path" => self.ca_path = path(),
            "ssl_ca_data" => self.ca_data = text(value),
            "ssl_certfile" => self.certfile = path(),
            "ssl_keyfile" => self.keyfile = path(),
            // Passed over, these would make a connection less safe than was asked for.
            "ssl_password" if text(value).is_some() => {
                return Err("is not supported; the key has to be without a password".to_owned());
            }
            "ssl_validate_ocsp" | "ssl_validate_ocsp_stapled" if truth(value) => {
                return Err("is not supported".to_owned());
            }
            "ssl_min_version" => match text(value).map(|version| version.parse::<u32>()) {
                Some(Ok(version)) if OLDEST_TLS < version => {
                    return Err("above TLS 1.2 is not supported".to_owned());
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// Reads the files.
    pub(crate) fn certificates(&self) -> Result<TlsCertificates, ConnectError> {
        let client_tls = match (&self.certfile, &self.keyfile) {
            (None, None) => None,
            // One file may hold both.
            (certificate, key) => {
                let certificate = certificate.as_ref().or(key.as_ref());
                let key = key.as_ref().or(certificate);
                certificate.zip(key).map(|(certificate, key)| own_certificate(certificate, key))
            }
        };
        Ok(TlsCertificates { client_tls: client_tls.transpose()?, root_cert: self.authorities()? })
    }

    /// The certificates of those who may vouch for the server; none for the system's.
    fn authorities(&self) -> Result<Option<Vec<u8>>, ConnectError> {
        let mut found = String::new();
        if let Some(data) = &self.ca_data {
            found.push_str(&with_certificate("ssl_ca_data", data.clone())?);
        }
        if let Some(file) = &self.ca_certs {
            found.push('\n');
            found.push_str(&with_certificate(&file.display().to_string(), read(file)?)?);
        }
        if let Some(folder) = &self.ca_path {
            let entries = fs_err::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
            let files = entries.filter_map(Result::ok).map(|entry| entry.path());
            for file in files.filter(|file| file.is_file()) {
                found.push('\n');
                found.push_str(&read(&file)?);
            }
            found = with_certificate(&folder.display().to_string(), found)?;
        }
        Ok((!found.is_empty()).then(|| found.into_bytes()))
    }
}

fn own_certificate(certificate: &Path, key: &Path) -> Result<ClientTlsConfig, ConnectError> {
    let chain = with_certificate(&certificate.display().to_string(), read(certificate)?)?;
    let key_text = read(key)?;
    if !key_text.contains("PRIVATE KEY-----") {
        return Err(refused(&key.display().to_string(), "it holds no private key in PEM form"));
    }
    Ok(ClientTlsConfig { client_cert: chain.into_bytes(), client_key: key_text.into_bytes() })
}

/// As redis-py reads `ssl_cert_reqs`: a word, or a number of `ssl.VerifyMode`.
fn is_verified(value: &Value) -> Result<bool, String> {
    match text(value).as_deref() {
        None | Some("none" | "0") => Ok(false),
        // A client that asks for a certificate gets one: there is nothing optional about it.
        Some("optional" | "required" | "1" | "2") => Ok(true),
        Some(other) => Err(format!("is none, optional or required, not {other:?}")),
    }
}

fn read(file: &Path) -> Result<String, ConnectError> {
    fs_err::read(file)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| unreadable(file, &error))
}

fn with_certificate(place: &str, content: String) -> Result<String, ConnectError> {
    if content.contains(CERTIFICATE) {
        Ok(content)
    } else {
        Err(refused(place, "it holds no certificate in PEM form"))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConnectError {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    };
    refused(&path.display().to_string(), &reason)
}

fn refused(place: &str, reason: &str) -> ConnectError {
    ConnectError::Certificate { place: place.to_owned(), reason: reason.to_owned() }
}
