//! Taking apart what scripts answer.

use redis::{ErrorKind, RedisError, Value};

use crate::error::Error;
use crate::job::JobHash;

pub(crate) fn unexpected() -> Error {
    RedisError::from((ErrorKind::UnexpectedReturnType, "a script answered what it never does"))
        .into()
}

pub(crate) fn list(reply: Value) -> Result<std::vec::IntoIter<Value>, Error> {
    match reply {
        Value::Array(items) => Ok(items.into_iter()),
        _ => Err(unexpected()),
    }
}

pub(crate) fn bytes(value: Option<Value>) -> Result<Vec<u8>, Error> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
        _ => Err(unexpected()),
    }
}

pub(crate) fn integer(value: Option<&Value>) -> Result<i64, Error> {
    match value {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(unexpected()),
    }
}

/// The fields of a job, as names and values in turns.
pub(crate) fn hash(value: Option<Value>) -> Result<JobHash, Error> {
    let mut fields = Vec::new();
    let mut flat = list(value.ok_or_else(unexpected)?)?;
    while let Some(name) = flat.next() {
        fields.push((bytes(Some(name))?, bytes(flat.next())?));
    }
    Ok(JobHash::new(fields))
}
